//! Stories of the `cluster` room: what it does to objects, its own and those of others.

mod apply;
mod cost;
mod drift;
mod faults;
mod ground;
mod health;
mod inventory;
mod line;
mod prune;
