//! Content hashes: SHA-256 over framed parts. The only hashing in the house.
