//! The rollouts that run, one a service.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

use super::super::Part;
use super::{Key, Work};
use crate::hash::ContentHash;

/// The rollouts that run, one a service.
#[derive(Default)]
pub(in crate::reconcile) struct Running {
    pub(super) all: Mutex<BTreeMap<Key, Current>>,
    pub(super) count: watch::Sender<usize>,
}

/// One that runs.
pub(super) struct Current {
    pub(super) digest: Option<ContentHash>,
    pub(super) gone: bool,
    pub(super) cancel: CancellationToken,
    pub(super) applied: watch::Receiver<bool>,
    /// The same input planned anew, because somebody changed what had been applied.
    pub(super) again: watch::Sender<Arc<Work>>,
}

impl Running {
    /// Whether none runs; waits until that is so.
    pub(in crate::reconcile) async fn idle(&self) -> bool {
        let mut count = self.count.subscribe();
        let waited = *count.borrow() > 0;
        // the sender lives in `self`, so waiting cannot fail
        let _ = count.wait_for(|count| *count == 0).await;
        !waited
    }

    /// Whether any rollout of this part runs.
    pub(in crate::reconcile) async fn any(&self, part: &Part<'_>) -> bool {
        let all = self.all.lock().await;
        all.keys().any(|(project, environment, service)| part.has(project, environment, Some(service)))
    }

    /// Whether a rollout of the service runs.
    pub(in crate::reconcile) async fn runs(&self, key: &Key) -> bool {
        self.all.lock().await.contains_key(key)
    }

    /// Calls off the rollout of a service, where one runs.
    pub(in crate::reconcile) async fn call_off(&self, key: &Key) {
        if let Some(current) = self.all.lock().await.get(key) {
            current.cancel.cancel();
        }
    }

    /// Waits until the rollout of a service has applied its objects, where one runs.
    pub(super) async fn applied(&self, key: &Key) {
        let receiver = self.all.lock().await.get(key).map(|current| current.applied.clone());
        if let Some(mut applied) = receiver {
            // an error means that the rollout has ended
            let _ = applied.wait_for(|applied| *applied).await;
        }
    }
}
