//! A Kubernetes API, however it is reached: discovery, apply, prune, inventory, health, watch, logs.
