//! Pure: manifests × inventory → a plan whose text is what a reviewer reads.
