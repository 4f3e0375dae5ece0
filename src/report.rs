//! Pure: an outcome → every word that is said about it on GitHub.
