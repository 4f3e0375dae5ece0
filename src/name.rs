//! Names checked when they are parsed, and the one function that maps them to Kubernetes names.
