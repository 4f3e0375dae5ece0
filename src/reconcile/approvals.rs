//! Plans that somebody said yes to.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use super::{Hint, Reconciler, Snapshot};
use crate::hash::ContentHash;
use crate::name::Revision;

/// Plans that somebody said yes to, each at the config that it was made of.
#[derive(Default)]
pub(super) struct Approvals(Mutex<BTreeMap<ContentHash, Option<Revision>>>);

impl Approvals {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ContentHash, Option<Revision>>> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

impl Reconciler {
    /// Says yes to a plan that the brake holds, by its id. It holds for the config as it is now: the same removal by
    /// a later commit is asked about again.
    ///
    /// # Panics
    /// When another thread panicked while it held the list.
    pub fn approve(&self, plan: ContentHash) {
        let snapshot = self.0.snapshot.borrow().clone();
        self.let_through(plan, &snapshot);
        self.hint(Hint::Everything);
    }

    /// Whether somebody said yes to a plan, and to the config as it is.
    pub(super) fn is_approved(&self, plan: ContentHash, snapshot: &Snapshot) -> bool {
        let approvals = self.0.approvals.lock();
        approvals.get(&plan) == Some(&snapshot.config_revision)
    }

    /// Lets a plan through, made of the config as it is. What was said of another config is void.
    pub(super) fn let_through(&self, plan: ContentHash, snapshot: &Snapshot) {
        let mut approvals = self.0.approvals.lock();
        approvals.retain(|_, of| *of == snapshot.config_revision);
        approvals.insert(plan, snapshot.config_revision.clone());
    }
}
