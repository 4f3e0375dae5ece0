//! Applying one service: server-side apply of what changed, stage by stage, many requests in flight.
//!
//! One changed object costs one request: the PATCH carries the UID that we know as its precondition, its answer is
//! the new live state, and conflicts are only looked into when there are any. An object that we do not know yet is
//! looked at first, or many of them by one list, so that nothing of others is ever adopted.

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use http::Method;
use serde::Serialize;
use serde_json::{Value, json};

use super::inventory::{ApplySet, Entry, is_namespaced};
use super::request::{APPLY, Call, JSON, METADATA};
use super::{Cluster, ClusterError, Conflict, conflict, object};
use crate::plan::{Action, FIELD_MANAGER, PART_OF, Stage, Step, UnitPlan, kept_by_nature};
use crate::render::manifest::{Manifest, ObjectKey};

/// What became of one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// It was made.
    Created,
    /// It was changed.
    Configured,
    /// It was as it should be; nothing was sent.
    Unchanged,
    /// It was deleted, and seen gone.
    Pruned,
    /// It is no longer wanted and was left alone.
    Kept,
    /// It is no longer ours: somebody took our label away, or put another object in its place. We let go of it.
    Released,
    /// It was not sent, since an earlier stage failed; a dry run accepted it.
    Skipped,
    /// It could not be applied or deleted.
    Failed,
}

/// One object of a [`ChangeSet`].
#[derive(Debug)]
pub struct Change {
    /// Which object.
    pub key: ObjectKey,
    /// What became of it.
    pub outcome: Outcome,
    /// The error, when it failed.
    pub error: Option<ClusterError>,
    /// Fields that were taken back from another manager.
    pub overruled: Vec<Conflict>,
    /// Fields that were left to another manager.
    pub left: Vec<Conflict>,
    /// The live object as the API server answered; none where nothing was sent.
    pub live: Option<Value>,
    /// Template and line that the object was made by.
    pub place: Option<String>,
}

impl Change {
    pub(super) fn new(key: &ObjectKey, outcome: Outcome) -> Self {
        let (overruled, left) = (Vec::new(), Vec::new());
        Self { key: key.clone(), outcome, error: None, overruled, left, live: None, place: None }
    }

    pub(super) fn failed(key: &ObjectKey, error: ClusterError) -> Self {
        Self { error: Some(error), ..Self::new(key, Outcome::Failed) }
    }
}

/// What became of every object of a service.
#[derive(Debug, Default)]
pub struct ChangeSet {
    /// In the order in which they were worked on.
    pub changes: Vec<Change>,
}

impl ChangeSet {
    /// Answers whether anything failed.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.changes.iter().any(|change| change.outcome == Outcome::Failed)
    }

    /// Everything that failed, with its error.
    pub fn errors(&self) -> impl Iterator<Item = (&Change, &ClusterError)> {
        self.changes.iter().filter_map(|change| change.error.as_ref().map(|error| (change, error)))
    }

    /// How many objects had an outcome.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> usize {
        self.changes.iter().filter(|change| change.outcome == outcome).count()
    }

    /// What became of one object.
    #[must_use]
    pub fn outcome(&self, key: &ObjectKey) -> Option<Outcome> {
        self.changes.iter().find(|change| change.key == *key).map(|change| change.outcome)
    }
}

/// Who applies what, and whether only to try it.
struct Run<'a> {
    set: &'a ApplySet,
    unit: &'a UnitPlan,
    preview: bool,
    dry: bool,
}

/// Applies the steps of a service's plan and writes down what became of them.
///
/// Stages wait for each other. When one fails, the objects of later stages are only tried (`dryRun`), so that all
/// errors of the service are reported at once and nothing half-made is built upon.
///
/// # Errors
/// When the inventory cannot be written; the errors of single objects are in the [`ChangeSet`].
pub async fn apply(set: &ApplySet, unit: &UnitPlan, preview: bool) -> Result<ChangeSet, ClusterError> {
    let mut all = ChangeSet::default();
    let refused = unit.steps.iter().filter(|step| step.action == Action::Refuse);
    all.changes.extend(refused.map(|step| {
        let why = step.reason.clone();
        Change::failed(&step.key, ClusterError::Planned { key: step.key.clone(), why })
    }));
    let mut intended = false;
    for stage in Stage::ALL {
        let steps: Vec<&Step> =
            unit.steps.iter().filter(|step| step.stage == stage && step.action != Action::Refuse).collect();
        if !intended && stage != Stage::Namespace && !all.failed() {
            // the parent lives in the namespace, so that stage comes before it
            let keys = unit.steps.iter().filter(|step| sends(step) && is_namespaced(&step.key));
            set.intend(&unit.name, keys.map(|step| step.key.clone())).await?;
            intended = true;
        }
        let run = Run { set, unit, preview, dry: all.failed() };
        let mut waiting: FuturesUnordered<_> = steps.into_iter().map(|step| run.step(step)).collect();
        while let Some(change) = waiting.next().await {
            all.changes.push(change);
        }
        drop(waiting);
        if run.dry {
            continue;
        }
        let entries: Vec<_> = all.changes.iter().filter_map(|change| run.entry(change)).collect();
        if stage == Stage::Ingress || all.failed() {
            set.settle(&unit.name, entries).await?;
        }
    }
    all.changes.sort_by(|a, b| (Stage::of(&a.key), &a.key).cmp(&(Stage::of(&b.key), &b.key)));
    Ok(all)
}

/// Tries every step of a plan on the server (`dryRun=All`) and changes nothing: admission, quota and schema speak.
pub async fn try_out(set: &ApplySet, unit: &UnitPlan) -> ChangeSet {
    let run = Run { set, unit, preview: false, dry: true };
    let steps = unit.steps.iter().filter(|step| step.action != Action::Refuse);
    let mut waiting: FuturesUnordered<_> = steps.map(|step| run.step(step)).collect();
    let mut all = ChangeSet::default();
    while let Some(change) = waiting.next().await {
        all.changes.push(change);
    }
    all.changes.sort_by(|a, b| (Stage::of(&a.key), &a.key).cmp(&(Stage::of(&b.key), &b.key)));
    all
}

fn sends(step: &Step) -> bool {
    matches!(step.action, Action::Create | Action::Update { .. } | Action::Replace { .. })
}

/// How one PATCH is sent.
#[derive(Clone, Copy)]
struct Sending<'a> {
    uid: &'a str,
    force: bool,
    dry: bool,
}

impl Run<'_> {
    async fn step(&self, step: &Step) -> Change {
        let Some(manifest) = step.manifest.as_ref().filter(|_| sends(step)) else {
            return Change::new(&step.key, Outcome::Unchanged);
        };
        let mut change = match self.send(step, manifest).await {
            Ok(change) => change,
            Err(error) => Change::failed(&step.key, error),
        };
        change.place = Some(manifest.place());
        if self.dry && change.outcome != Outcome::Failed {
            change.outcome = Outcome::Skipped;
            change.live = None;
        }
        change
    }

    async fn send(&self, step: &Step, manifest: &Manifest) -> Result<Change, ClusterError> {
        let cluster = self.set.cluster();
        let resource = cluster.resource(manifest.api_version(), manifest.kind()).await?;
        let path = resource.path(manifest.namespace(), manifest.name());
        let what = step.key.to_string();
        let entry = self.set.entry(&self.unit.name, &step.key);
        let known = entry.as_ref().map(|entry| entry.uid.as_str()).filter(|uid| !uid.is_empty());
        let mut body = manifest.object().clone();
        if is_namespaced(&step.key) {
            body["metadata"]["labels"][PART_OF] = Value::from(self.set.id());
        }
        for left in entry.iter().flat_map(|entry| &entry.left).filter(|left| step.yields.contains(left)) {
            object::remove_field(&mut body, left);
        }
        let live = match known {
            Some(_) => None,
            None if self.set.is_absent(&step.key) => None,
            None => cluster.find(&path, &what, METADATA).await?,
        };
        if let Some(live) = &live
            && !self.is_ours(step, live, entry.as_ref())
        {
            let managers = object::other_managers(live);
            return Err(ClusterError::NotOurs { key: step.key.clone(), managers });
        }
        let uid = known.map(str::to_owned).or_else(|| live.as_ref().map(|live| object::uid(live).to_owned()));
        let target = Target { cluster, path: &path, what: &what };
        if let (Action::Replace { .. }, Some(uid)) = (&step.action, &uid)
            && !self.dry
        {
            target.delete(&step.key, uid).await?;
            return self.create(&target, step, &body).await;
        }
        match uid {
            None => self.create(&target, step, &body).await,
            Some(uid) => self.update(&target, step, manifest, entry.as_ref(), body, &uid).await,
        }
    }

    /// Makes an object that was not there a moment ago.
    async fn create(&self, target: &Target<'_>, step: &Step, body: &Value) -> Result<Change, ClusterError> {
        let live = target.patch(body, Sending { uid: "", force: false, dry: self.dry }).await?;
        // a new object has no other manager; one that has was made by somebody else in the meantime
        let others = object::other_managers(&live);
        if !others.is_empty() && !self.dry {
            let empty = json!({"apiVersion": body["apiVersion"], "kind": body["kind"],
                "metadata": {"name": body["metadata"]["name"]}});
            target.patch(&empty, Sending { uid: object::uid(&live), force: false, dry: false }).await?;
            return Err(ClusterError::NotOurs { key: step.key.clone(), managers: others });
        }
        Ok(Change { live: Some(live), ..Change::new(&step.key, Outcome::Created) })
    }

    /// Changes an object that is ours, known by its UID.
    async fn update(
        &self,
        target: &Target<'_>,
        step: &Step,
        manifest: &Manifest,
        entry: Option<&Entry>,
        mut body: Value,
        uid: &str,
    ) -> Result<Change, ClusterError> {
        let sending = Sending { uid, force: false, dry: self.dry };
        let refused = match target.patch(&body, sending).await {
            Ok(live) => {
                return Ok(Change { live: Some(live), ..Change::new(&step.key, Outcome::Configured) });
            }
            Err(refused) if refused.is_code(409) || refused.is_code(404) => refused,
            Err(refused) => return Err(refused),
        };
        let Some(live) = target.cluster.find(target.path, target.what, JSON).await? else {
            // somebody deleted it
            return self.create(target, step, &body).await;
        };
        if !self.is_ours(step, &live, entry) {
            let managers = object::other_managers(&live);
            return Err(ClusterError::NotOurs { key: step.key.clone(), managers });
        }
        let conflicts = refused.status().map(conflict::conflicts).unwrap_or_default();
        let sending = Sending { uid: object::uid(&live), ..sending };
        if conflicts.is_empty() {
            // the UID was another one: somebody deleted it, and a member of the set came in its place
            let live = target.patch(&body, sending).await?;
            return Ok(Change { live: Some(live), ..Change::new(&step.key, Outcome::Configured) });
        }
        let healing = entry.is_some_and(|entry| entry.applied == manifest.hash().short());
        let decision = target.cluster.decide(step, entry, &live, healing, conflicts)?;
        for left in &decision.left {
            object::remove_field(&mut body, &left.path);
        }
        let live = target.patch(&body, Sending { force: !decision.overruled.is_empty(), ..sending }).await?;
        Ok(Change {
            live: Some(live),
            overruled: decision.overruled,
            left: decision.left,
            ..Change::new(&step.key, Outcome::Configured)
        })
    }

    /// Whether a live object may be applied onto: a member of the set, the very object that we made (somebody took
    /// our label away), or one that its owner hands over. The namespace is no member: there our own label counts.
    fn is_ours(&self, step: &Step, live: &Value, entry: Option<&Entry>) -> bool {
        if object::is_controlled(live) {
            return false;
        }
        let made = entry.is_some_and(|entry| !entry.uid.is_empty() && entry.uid == object::uid(live));
        let member = if is_namespaced(&step.key) {
            object::is_member(live, self.set.id())
        } else {
            object::owns_label(live, "app.kubernetes.io/managed-by")
        };
        made || member || object::is_handed_over(live)
    }

    /// What the inventory keeps of an object that was applied.
    fn entry(&self, change: &Change) -> Option<(ObjectKey, Option<Entry>)> {
        let live = change.live.as_ref()?;
        let step = self.unit.steps.iter().find(|step| step.key == change.key)?;
        let before = self.set.entry(&self.unit.name, &change.key).unwrap_or_default();
        let mut left: Vec<String> =
            before.left.into_iter().filter(|path| step.yields.contains(path)).collect();
        left.extend(change.left.iter().map(|conflict| conflict.path.clone()));
        left.sort();
        left.dedup();
        let entry = Entry {
            applied: step.manifest.as_ref()?.hash().short(),
            owned: object::owned_hash(live, &step.yields),
            uid: object::uid(live).to_owned(),
            keep: kept_by_nature(&change.key, self.preview, live),
            yields: step.yields.clone(),
            left,
        };
        Some((change.key.clone(), Some(entry)))
    }
}

/// One object as requests address it.
pub(super) struct Target<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) path: &'a str,
    pub(super) what: &'a str,
}

impl Target<'_> {
    async fn patch(&self, body: &Value, sending: Sending<'_>) -> Result<Value, ClusterError> {
        let mut body = body.clone();
        if !sending.uid.is_empty() {
            body["metadata"]["uid"] = Value::from(sending.uid);
        }
        let dry = if sending.dry { "&dryRun=All" } else { "" };
        let query =
            format!("fieldManager={FIELD_MANAGER}&fieldValidation=Strict&force={}{dry}", sending.force);
        let call = Call {
            what: self.what,
            method: Method::PATCH,
            path: format!("{}?{query}", self.path),
            accept: JSON,
            content_type: APPLY,
            body: body.to_string().into_bytes(),
        };
        self.cluster.call(call).await
    }
}
