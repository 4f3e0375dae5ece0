//! The line of the house, once: from a hint to a report.
