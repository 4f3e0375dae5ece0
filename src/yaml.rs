//! The one reader and the one writer of YAML, with the place of every value.
