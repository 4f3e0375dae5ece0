//! Tracing and the Prometheus registry.
