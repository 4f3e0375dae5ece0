//! What a survey was made of: as long as it is the same, so is what should exist.
//!
//! It saves work and decides nothing: a survey that is made anew comes to the same end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::answers::Refs;
use crate::config::Repository;
use crate::desired::PullRequest;
use crate::source::{Mirror, RepositoryUrl};

/// Everything that decides what should exist.
pub(super) struct Basis {
    pub(super) config: Arc<Repository>,
    /// Where the app repositories are, as the config writes them.
    pub(super) addresses: BTreeMap<String, Result<RepositoryUrl, String>>,
    /// What they hold, by their keys.
    pub(super) refs: BTreeMap<String, Arc<Refs>>,
    /// Why they could not be fetched.
    pub(super) failed: BTreeMap<String, String>,
    pub(super) pulls: Vec<PullRequest>,
    pub(super) unlisted: BTreeSet<String>,
    /// The version of the records.
    pub(super) records: u64,
    /// Whether any record was asked for.
    pub(super) asked: AtomicBool,
}

impl Basis {
    /// The addresses of repositories.
    pub(super) fn addresses(
        mirrors: &BTreeMap<String, Result<Mirror, String>>,
    ) -> BTreeMap<String, Result<RepositoryUrl, String>> {
        let address = |mirror: &Result<Mirror, String>| match mirror {
            Ok(mirror) => Ok(mirror.url().clone()),
            Err(why) => Err(why.clone()),
        };
        mirrors.iter().map(|(repo, mirror)| (repo.clone(), address(mirror))).collect()
    }

    /// Whether what was made of this would be the same made of another.
    pub(super) fn is_still(&self, now: &Self) -> bool {
        let before = self.refs.iter().map(|(key, refs)| (key, Arc::as_ptr(refs)));
        // what did not change is the very same
        Arc::ptr_eq(&self.config, &now.config)
            && before.eq(now.refs.iter().map(|(key, refs)| (key, Arc::as_ptr(refs))))
            && (&self.addresses, &self.failed) == (&now.addresses, &now.failed)
            && (&self.pulls, &self.unlisted) == (&now.pulls, &now.unlisted)
            && (!self.asked.load(Ordering::Relaxed) || self.records == now.records)
    }
}
