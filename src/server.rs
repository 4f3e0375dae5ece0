//! The listener, its limits and layers, and the routes. The only user of warp.
