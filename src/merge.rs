//! Pure: Kubernetes structured merge with managed fields (KEP-555).
