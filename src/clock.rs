//! Time as a value that is passed in, so that a test can hold it still.
