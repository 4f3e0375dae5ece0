//! Values that are never printed, and the one filter that every sink passes.
