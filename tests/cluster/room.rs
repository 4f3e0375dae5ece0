//! Stories of the `cluster` room: what it does to objects, its own and those of others.

mod apply;
mod drift;
mod ground;
mod inventory;
mod prune;
