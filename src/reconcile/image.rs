//! Images that others build: from the tag that the config writes to the digest that is deployed.
//!
//! A tag is looked up once for each service and revision, and what was found stays: what runs never changes because
//! somebody pushed the same tag again. The look-up belongs to the deployment: it waits for an image that is not there
//! yet, since a push is often heard of before its image is built. Nothing but that deployment waits with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use super::artifact::may_be_asked_for;
use super::record::{Begun, Failure};
use super::rollout::{End, Key, Work};
use super::{Hint, ReconcileError, Reconciler, chain};
use crate::build::RegistryError;
use crate::desired::{ArtifactSource, Environment, Service};
use crate::name::{Digest, EnvironmentName, ImageRef, ProjectName, Revision, ServiceName};

/// The step in which a deployment looks up the digest of its image.
pub(super) const STEP: &str = "Image";
/// The pauses between two looks, the first and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));

/// What is known of tags, one for each service.
#[derive(Default)]
pub(super) struct Images {
    known: Mutex<BTreeMap<Key, Known>>,
    /// Another number after everything that is learned.
    version: AtomicU64,
    /// Services whose tag is being looked up beside any deployment.
    asked: Mutex<BTreeSet<Key>>,
}

/// What a tag was found to mean.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    tag: ImageRef,
    revision: Option<Revision>,
    digest: Digest,
}

impl Images {
    fn known(&self) -> MutexGuard<'_, BTreeMap<Key, Known>> {
        self.known.lock().expect("no holder of this lock panics")
    }

    fn asked(&self) -> MutexGuard<'_, BTreeSet<Key>> {
        self.asked.lock().expect("no holder of this lock panics")
    }

    /// Another number after everything that is learned.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::SeqCst)
    }

    fn learn(&self, key: Key, known: Known) {
        self.known().insert(key, known);
        self.version.fetch_add(1, Ordering::SeqCst);
    }

    /// The digest of a tag, where it is known for this service and revision.
    fn digest(&self, key: &Key, tag: &ImageRef, revision: Option<&Revision>) -> Option<Digest> {
        let known = self.known();
        let found = known.get(key).filter(|found| found.tag == *tag && found.revision.as_ref() == revision);
        found.map(|found| found.digest.clone())
    }
}

impl Reconciler {
    /// The digest that the tag of a service means, where that was found before.
    pub(super) async fn known_digest(
        &self,
        key: &Key,
        tag: &ImageRef,
        revision: Option<&Revision>,
    ) -> Option<Digest> {
        if let Some(digest) = self.0.images.digest(key, tag, revision) {
            return Some(digest);
        }
        // what is live stays at its digest over a restart
        let record = match self.record(key).await {
            Ok(record) => record?,
            Err(error) => {
                tracing::warn!(service = %key.2, error = %chain(&error), "The digest of what is live could not be read; it is looked up again.");
                return None;
            }
        };
        let live = &record.detail;
        let same =
            live.tag.as_ref() == Some(tag) && live.revision.as_deref() == revision.map(Revision::as_str);
        live.image.as_deref().filter(|_| same)?.parse::<ImageRef>().ok()?.digest()
    }

    /// Looks a tag up and remembers what it means.
    async fn find(
        &self,
        key: &Key,
        tag: &ImageRef,
        revision: Option<&Revision>,
    ) -> Result<Digest, RegistryError> {
        let insecure = {
            let snapshot = self.0.snapshot.borrow();
            let registry = snapshot.config.config.as_ref().and_then(|config| config.spec.registry.as_ref());
            registry.and_then(|registry| registry.insecure.clone()).unwrap_or_default()
        };
        let digest = self.0.parts.registry.digest(tag, &insecure).await?;
        let known = Known { tag: tag.clone(), revision: revision.cloned(), digest: digest.clone() };
        self.0.images.learn(key.clone(), known);
        Ok(digest)
    }

    /// The part of a rollout that looks up the digest of its image, for as long as a rollout may take. The next attempt
    /// takes the deployment on.
    pub(super) async fn await_image(
        &self,
        work: &Work,
        begun: &Begun,
        tag: &ImageRef,
    ) -> Result<End, ReconcileError> {
        self.step(begun, STEP, "building").await?;
        let key = Self::state_key(&work.environment, &work.name);
        let revision = work.prepared.as_ref().and_then(|prepared| prepared.service.revision().cloned());
        let clock = &self.0.parts.clock;
        let until = clock.now() + work.patience();
        let mut pause = PAUSES.0;
        let mut said = String::new();
        loop {
            let error = match self.find(&key, tag, revision.as_ref()).await {
                Ok(digest) => {
                    self.step_done(begun, STEP, Some(&format!("{tag} is {digest}"))).await?;
                    return Ok(End::Found);
                }
                Err(error) => chain(&error),
            };
            if clock.now() >= until {
                return Ok(End::Failed(Failure {
                    step: STEP,
                    message: error,
                    log: Vec::new(),
                    platform: false,
                }));
            }
            if error != said {
                self.record_waiting(work, begun, STEP, &error).await?;
                said = error;
            }
            clock.sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Looks a tag up once, beside any deployment: for one that has failed for want of its image, and for whoever asks
    /// for what the tag means today. Something new makes the environment due.
    pub(super) fn look_up(&self, environment: &Environment, service: &Service) {
        let Some(run) = service.run() else { return };
        let ArtifactSource::Image(tag) = &run.artifact else { return };
        let snapshot = self.0.snapshot.borrow().clone();
        let pinned = run.release.as_ref().is_some_and(|release| release.digest.is_some());
        let by_tag = !pinned && tag.digest().is_none();
        let key = Self::state_key(environment, &service.name);
        if !by_tag
            || !may_be_asked_for(&snapshot, environment, service, tag)
            || !self.0.images.asked().insert(key.clone())
        {
            return;
        }
        let (this, tag, revision) = (self.clone(), tag.clone(), run.revision.clone());
        self.0.tasks.spawn(async move {
            let before = this.0.images.digest(&key, &tag, revision.as_ref());
            match this.0.stop.run_until_cancelled(this.find(&key, &tag, revision.as_ref())).await {
                Some(Ok(digest)) if before != Some(digest.clone()) => {
                    this.hint(Hint::Environment(key.0.clone(), key.1.clone()));
                }
                Some(Err(error)) => {
                    tracing::debug!(image = %tag, error = %chain(&error), "A tag could not be looked up.")
                }
                Some(Ok(_)) | None => {}
            }
            this.0.images.asked().remove(&key);
        });
    }

    /// Looks up what the tags of an environment, or of one service, mean today.
    pub(super) fn look_up_again(
        &self,
        project: &ProjectName,
        environment: &EnvironmentName,
        service: Option<&ServiceName>,
    ) {
        let snapshot = self.0.snapshot.borrow().clone();
        let Some(environment) = snapshot.environment(project.as_str(), environment.as_str()) else { return };
        let wanted = environment.services.values().filter(|s| service.is_none_or(|name| s.name == *name));
        wanted.for_each(|service| self.look_up(environment, service));
    }
}
