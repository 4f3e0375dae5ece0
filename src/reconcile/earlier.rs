//! What was last taken in of the config, noted in the store: the revision, and the blobs of documents that stood as they
//! were because they were broken by then. So a mistake that is there at a restart takes down no more than it did before.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::head::ConfigHead;
use super::{Reconciler, chain};
use crate::name::Revision;
use crate::source::Mirror;
use crate::store::StoreError;

/// Where the store keeps it, by the instance.
const SPACE: &str = "config";

#[derive(Debug, Serialize, Deserialize)]
struct Noted {
    revision: Revision,
    /// Path → blob.
    standing: BTreeMap<String, String>,
}

impl Reconciler {
    /// What an earlier process took in last, read again from Git. `None` where there is no earlier one, or it is gone.
    pub(super) async fn earlier_config(&self, mirror: &Mirror) -> Option<Arc<ConfigHead>> {
        let row = self.store().get(SPACE, &self.0.instance).await;
        let row = row.inspect_err(|error| {
            tracing::warn!(error = %chain(error), "What was last taken in of the config could not be looked up.");
        });
        let Noted { revision, standing } = serde_json::from_slice(&row.ok()??).ok()?;
        let standing = standing.into_iter().filter_map(|(path, id)| Some((path, id.parse().ok()?))).collect();
        let read = ConfigHead::earlier(mirror, &self.0.parts.config.path, revision, standing).await;
        read.inspect_err(|error| {
            tracing::warn!(error = %chain(error), "What was last taken in of the config cannot be read any more.");
        })
        .ok()
    }

    /// Notes what was taken in, for the next start.
    pub(super) async fn note_config(&self, head: &ConfigHead) -> Result<(), StoreError> {
        let noted = Noted { revision: head.revision.clone(), standing: head.config.standing.clone() };
        let bytes = serde_json::to_vec(&noted).expect("texts have a JSON form");
        if self.store().get(SPACE, &self.0.instance).await?.as_ref() == Some(&bytes) {
            return Ok(());
        }
        self.store().put(SPACE, &self.0.instance, &bytes).await
    }
}
