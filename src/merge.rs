//! Kubernetes structured merge with managed fields (KEP-555): typed, by ownership, as kube-apiserver 1.34 does it.
//!
//! Pure: objects are JSON values in and JSON values out; time is passed in. Used by the embedded API, which is the
//! server then, and by plans, which want to know what a server would do.
//!
//! ```text
//! Schema      what a kind's fields are, and which lists and maps merge        schema.rs
//! FieldSet    paths to fields; FieldsV1                                       path.rs fieldset.rs fields_v1.rs
//! typed       a value seen through its type: fields, misfits                  typed.rs
//! compare     what differs      combine  what is laid over      remove  what goes
//! Managed     metadata.managedFields: who owns what                           managed.rs conflict.rs reset.rs
//! apply       combine, prune, compare, settle          update   compare, settle
//! ```
//!
//! The rules are those of sigs.k8s.io/structured-merge-diff v6 and of the server's field manager around it. Not
//! here, because there is one version of each kind: conversion between versions of one object.
//!
//! Knows nothing of HTTP, storage, defaults or validation: a caller that is a server sets defaults after [`apply`]
//! and before [`update`], and resets what the request may not write (`status`, or everything but it).

mod apply;
mod combine;
mod compare;
mod conflict;
mod fields_v1;
mod fieldset;
mod last_applied;
mod managed;
mod normal;
mod path;
mod remove;
mod reset;
mod scale;
mod schema;
mod typed;
mod update;

use serde_json::Value;

pub use self::apply::{Apply, ApplyError, apply, same_objects};
pub use self::compare::{Comparison, compare};
pub use self::conflict::Conflict;
pub use self::fieldset::FieldSet;
pub use self::managed::{Entry, Operation};
pub use self::path::{Path, PathElement, Scalar};
pub use self::scale::scale;
pub use self::schema::{Property, Resource, ScalarKind, Schema, SchemaError, Shape, Subresource, TypeRef};
pub use self::typed::Misfit;
pub use self::update::{Update, update};

/// The fields of an object that a manager owns, by whatever operation and through whatever subresource.
///
/// Empty where the object's `managedFields` cannot be read.
#[must_use]
pub fn owned(object: &Value, manager: &str) -> FieldSet {
    let entries = entries(object).into_iter().filter(|entry| entry.manager == manager);
    entries.fold(FieldSet::EMPTY, |owned, entry| owned.union(&entry.fields))
}

/// The entries of an object's `managedFields`; none where they cannot be read.
#[must_use]
pub fn entries(object: &Value) -> Vec<Entry> {
    managed::Managed::of(object).map(|managed| managed.0).unwrap_or_default()
}
