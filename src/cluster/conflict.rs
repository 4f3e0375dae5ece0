//! What is done when server-side apply answers that others hold our fields.
//!
//! - On a path that the plan yields, the other manager keeps the field.
//! - A field that we held and that was taken from us is taken back, as long as that does not become a fight.
//! - A field that we did not hold before, and that another tool declares, is reported; neither side wins silently.

use kube::core::response::{Status, reason};
use serde_json::Value;

use super::inventory::Entry;
use super::{Cluster, ClusterError, Conflict, object};
use crate::plan::Step;

/// What a second attempt may do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Decision {
    /// Paths that are left out.
    pub(super) left: Vec<Conflict>,
    /// Fields that are taken back by force.
    pub(super) overruled: Vec<Conflict>,
}

/// The conflicts that a refusal names; empty when it is no conflict of field managers.
pub(super) fn conflicts(status: &Status) -> Vec<Conflict> {
    let causes = status.details.as_ref().map_or(&[][..], |details| &details.causes);
    causes
        .iter()
        .filter(|cause| status.reason == reason::CONFLICT && cause.reason == "FieldManagerConflict")
        .map(|cause| Conflict { manager: manager(&cause.message).to_owned(), path: cause.field.clone() })
        .collect()
}

/// The name in `conflict with "kubectl" using apps/v1`; names are quoted as Go's `%q` does.
fn manager(message: &str) -> &str {
    let quoted = message.split_once('"').and_then(|(_, rest)| rest.split_once('"'));
    quoted.map_or("another manager", |(name, _)| name)
}

impl Cluster {
    /// Decides about the conflicts of one object. `healing`: the same manifest was applied before, so that every
    /// conflict is about a field that was taken from us.
    pub(super) fn decide(
        &self,
        step: &Step,
        entry: Option<&Entry>,
        live: &Value,
        healing: bool,
        conflicts: Vec<Conflict>,
    ) -> Result<Decision, ClusterError> {
        let taken =
            healing || entry.is_some_and(|entry| entry.owned != object::owned_hash(live, &step.yields));
        let (left, ours): (Vec<_>, Vec<_>) =
            conflicts.into_iter().partition(|conflict| step.yields.contains(&conflict.path));
        let (overruled, others): (Vec<_>, Vec<_>) =
            ours.into_iter().partition(|conflict| taken || !object::declares(live, &conflict.manager));
        if !others.is_empty() {
            return Err(ClusterError::Conflicts { key: step.key.clone(), conflicts: others });
        }
        if !overruled.is_empty() && !self.may_take_back(&step.key) {
            return Err(ClusterError::Fight { key: step.key.clone(), conflicts: overruled });
        }
        Ok(Decision { left, overruled })
    }
}
