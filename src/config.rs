//! What the config repository says: typed, validated, with the place of every value. It does not know Git.
