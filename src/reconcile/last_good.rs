//! The last good state of a service: what it was made of when it was last live.
//!
//! A service whose newest input failed, or cannot be known, goes on as it runs. Where somebody changes what runs, or
//! the embedded cluster comes back empty, the head of Git is no help: it says what failed. So what went live is kept in
//! the store, and put back from there.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::clusters::Handle;
use super::prepare::{Prepared, Ready};
use super::record::Record;
use super::rollout::Key;
use super::{Reconciler, chain};
use crate::desired::{ArtifactSource, BuildRequest, Environment, Wanted};
use crate::hash::ContentHash;
use crate::name::ServiceName;
use crate::plan::Held;
use crate::render::Manifest;
use crate::store::StoreError;

/// Where the store keeps it, by `project/environment/service`.
const SPACE: &str = "good";

/// What a service was made of when it was last live.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LastGood {
    pub(super) digest: ContentHash,
    pub(super) build: Option<BuildRequest>,
    pub(super) generated: BTreeMap<String, u32>,
    objects: Vec<Made>,
}

/// A manifest, and the template that made it.
#[derive(Debug, Serialize, Deserialize)]
struct Made {
    object: Value,
    template: String,
    line: u32,
}

/// A service that does not move on: why, and what it is made of meanwhile.
pub(super) struct Standing {
    pub(super) why: String,
    pub(super) good: Option<Arc<LastGood>>,
    pub(super) manifests: Vec<Manifest>,
    /// Whether all of it is the last good state, and nothing of what failed.
    pub(super) whole: bool,
}

impl LastGood {
    fn of(prepared: &Prepared) -> Option<Self> {
        let Wanted::Run(run) = &prepared.service.state else { return None };
        let build = match &run.artifact {
            ArtifactSource::Tree(request) => Some(request.clone()),
            ArtifactSource::Image(_) => None,
        };
        let object = |manifest: &Manifest| Made {
            object: manifest.object().clone(),
            template: manifest.origin().0.to_owned(),
            line: manifest.origin().1,
        };
        let objects = prepared.manifests.as_ref().ok()?.iter().map(object).collect();
        Some(Self { digest: prepared.digest, build, generated: prepared.service.generated.clone(), objects })
    }

    fn manifests(&self) -> Vec<Manifest> {
        let manifest =
            |made: &Made| Manifest::new(made.object.clone(), made.template.clone(), made.line).ok();
        self.objects.iter().filter_map(manifest).collect()
    }
}

impl Reconciler {
    /// Keeps what has just gone live.
    pub(super) async fn keep_good(
        &self,
        environment: &Environment,
        prepared: &Prepared,
    ) -> Result<(), StoreError> {
        let Some(good) = LastGood::of(prepared) else { return Ok(()) };
        let bytes = serde_json::to_vec(&good).expect("texts and JSON have a JSON form");
        self.store().put(SPACE, &text(&Self::state_key(environment, &prepared.service.name)), &bytes).await
    }

    /// Forgets it, once the service is gone.
    pub(super) async fn drop_good(&self, key: &Key) -> Result<(), StoreError> {
        self.store().remove(SPACE, &text(key)).await.map(|_| ())
    }

    /// What all services were made of when they were last live, as it is kept.
    pub(super) async fn last_good_states(&self) -> Result<Vec<Vec<u8>>, StoreError> {
        Ok(self.store().list(SPACE).await?.into_iter().map(|(_, bytes)| bytes).collect())
    }

    async fn good(&self, key: &Key) -> Result<Option<Arc<LastGood>>, StoreError> {
        let Some(bytes) = self.store().get(SPACE, &text(key)).await? else { return Ok(None) };
        let good = serde_json::from_slice(&bytes).inspect_err(|error| {
            tracing::warn!(service = %key.2, error = %chain(error), "The last good state of a service cannot be read.");
        });
        Ok(good.ok().map(Arc::new))
    }

    /// The services of an environment that do not move on.
    pub(super) async fn standing_services(
        &self,
        environment: &Environment,
        prepared: &Ready,
        records: &BTreeMap<ServiceName, Arc<Record>>,
        handle: &Handle,
    ) -> Result<BTreeMap<ServiceName, Standing>, StoreError> {
        let mut standing = BTreeMap::new();
        for service in environment.services.keys().chain(environment.broken.keys()) {
            let why = match prepared.get(service).map(|ready| &**ready) {
                // it waits for its image, and what runs goes on as it is
                Some(ready) if ready.awaits().is_some() && !is_live(records, service) => None,
                Some(Prepared { manifests: Err(refusal), .. }) => Some(refusal.message.clone()),
                Some(ready) => records.get(service).and_then(|record| failed(record, ready.digest)),
                None => unknown(environment, service),
            };
            let Some(why) = why else { continue };
            let good = self.good(&Self::state_key(environment, service)).await?;
            let held = handle.set.held(service.as_str());
            let new = prepared.get(service).and_then(|ready| ready.manifests.as_deref().ok());
            let (manifests, whole) = put_together(
                &held,
                new.unwrap_or_default(),
                good.as_ref().map(|good| good.manifests()).unwrap_or_default(),
            );
            standing.insert(service.clone(), Standing { why, good, manifests, whole });
        }
        Ok(standing)
    }
}

fn is_live(records: &BTreeMap<ServiceName, Arc<Record>>, service: &ServiceName) -> bool {
    records.get(service).is_some_and(|record| record.row.live_deployment.is_some())
}

/// Why an input failed, where it did and nobody has asked to try it again.
fn failed(record: &Record, digest: ContentHash) -> Option<String> {
    let why = || record.detail.failure.clone().unwrap_or_else(|| "it failed".to_owned());
    (record.detail.failed_digest == Some(digest)).then(why)
}

/// Why nobody can say what a service should be.
fn unknown(environment: &Environment, service: &ServiceName) -> Option<String> {
    if let Some(problems) = environment.broken.get(service) {
        return Some(problems.first().map(ToString::to_string).unwrap_or_default());
    }
    match &environment.services.get(service)?.state {
        Wanted::Unknown(why) => Some(why.clone()),
        _ => None,
    }
}

fn text((project, environment, service): &Key) -> String {
    format!("{project}/{environment}/{service}")
}

/// Each object as it was last applied, of what failed or of what was good before; where nothing is there at all, what
/// was good. Says whether all of it is good.
fn put_together(held: &[Held], new: &[Manifest], good: Vec<Manifest>) -> (Vec<Manifest>, bool) {
    let applied = |manifest: &Manifest| {
        held.iter().find(|held| held.key == *manifest.key()).map(|held| held.applied.as_str())
    };
    let is_as_applied = |manifest: &Manifest| applied(manifest) == Some(&*manifest.hash().short());
    let nothing_there = held.iter().all(|held| held.applied.is_empty());
    let mut all: Vec<Manifest> = good
        .into_iter()
        .filter(|manifest| {
            nothing_there || applied(manifest).is_none_or(str::is_empty) || is_as_applied(manifest)
        })
        .collect();
    let of_good = all.len();
    for manifest in new.iter().filter(|manifest| !nothing_there && is_as_applied(manifest)) {
        if !all.iter().any(|known| known.key() == manifest.key()) {
            all.push(manifest.clone());
        }
    }
    let whole = all.len() == of_good;
    (all, whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn manifest(name: &str, value: &str) -> Manifest {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "n"}, "data": {"a": value}});
        Manifest::new(object, "t", 1).unwrap()
    }

    fn held(manifest: &Manifest, applied: &str) -> Held {
        let (owned, uid) = (String::new(), "u".to_owned());
        Held {
            key: manifest.key().clone(),
            applied: applied.to_owned(),
            owned,
            uid,
            keep: None,
            yields: Vec::new(),
        }
    }

    fn of(manifest: &Manifest) -> Held {
        held(manifest, &manifest.hash().short())
    }

    #[test]
    fn each_object_stands_as_it_was_last_applied() {
        let (a, b, c) = (manifest("a", "good"), manifest("b", "good"), manifest("c", "good"));
        let (a2, b2, d2) = (manifest("a", "failed"), manifest("b", "failed"), manifest("d", "failed"));
        let (good, new) = (vec![a.clone(), b.clone(), c.clone()], [a2.clone(), b2, d2.clone()]);
        let names = |(all, whole): (Vec<Manifest>, bool)| {
            let text = |m: &Manifest| format!("{}={}", m.name(), m.object()["data"]["a"].as_str().unwrap());
            (all.iter().map(text).collect::<Vec<_>>().join(" "), whole)
        };
        let together = |held: &[Held]| names(put_together(held, &new, good.clone()));
        assert_eq!(together(&[]), ("a=good b=good c=good".to_owned(), true), "the cluster came back empty");
        assert_eq!(
            together(&[of(&a), of(&b), of(&c)]),
            ("a=good b=good c=good".to_owned(), true),
            "failed before"
        );
        assert_eq!(
            together(&[of(&a2), of(&b), of(&c), held(&d2, "")]),
            ("b=good c=good a=failed".to_owned(), false),
            "failed in between"
        );
        assert_eq!(
            together(&[held(&a, "older"), of(&b), of(&c)]),
            ("b=good c=good".to_owned(), true),
            "nobody knows what it was"
        );
        assert_eq!(
            names(put_together(&[of(&d2)], &[d2], Vec::new())),
            ("d=failed".to_owned(), false),
            "it never was good"
        );
    }
}
