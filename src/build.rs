//! What an artifact is made of, and making it.
