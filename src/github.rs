//! A client of GitHub over octocrab: what we send and what we read.
