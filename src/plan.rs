//! What an environment needs so that the cluster holds what Git says: a [`Plan`].
//!
//! Planning is pure and complete. It takes what is wanted, what the inventory holds and, where somebody read
//! them, the live objects; it answers with ordered steps, each with its reason. Applying makes no choices, and
//! the text of a plan ([`std::fmt::Display`]) is what a reviewer reads.
//!
//! It must not know how objects were rendered, how a cluster is reached, or what time it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use serde::Serialize;
use serde_json::Value;

use crate::hash::{ContentHash, Hasher};
use crate::merge::Schema;
use crate::name::{EnvironmentName, Namespace, ProjectName};
use crate::render::manifest::{Manifest, ObjectKey};

pub mod brake;
pub mod diff;
pub mod order;
mod immutable;
mod keep;
mod make;
mod text;
mod yielding;

pub use brake::{Brake, Verdict};
pub use diff::{Change, FieldChange};
pub use keep::{GENERATED, KEEP_VALUE, PRUNE, kept_by_nature};
pub use make::plan;
pub use order::Stage;

/// The field manager under which every object is applied.
pub const FIELD_MANAGER: &str = "branchline";

/// The label by which an object belongs to an ApplySet (KEP-3659); put on at apply, never rendered.
pub const PART_OF: &str = "applyset.kubernetes.io/part-of";

/// The unit that owns the environment's own objects (namespace, quota, network policy).
///
/// No service can have this name: service names take no dot.
pub const ENVIRONMENT_UNIT: &str = ".environment";

/// Where a plan applies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Scope {
    /// The project.
    pub project: ProjectName,
    /// The environment within the project.
    pub environment: EnvironmentName,
    /// The one namespace that the environment's objects live in.
    pub namespace: Namespace,
    /// Whether the environment was made for a pull request.
    pub preview: bool,
}

/// What a service should consist of.
#[derive(Debug, Clone)]
pub enum Wanted {
    /// Exactly these objects.
    Objects(Vec<Manifest>),
    /// It does not move on: its configuration or a template is broken, or it failed. What runs stays as it is.
    Broken {
        /// Why, in one sentence.
        reason: String,
        /// What it consists of meanwhile: put back where somebody took it away, and never a reason to delete.
        standing: Vec<Manifest>,
    },
    /// Nothing: the service left the configuration.
    Gone,
}

/// One object that the inventory holds for a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Which object.
    pub key: ObjectKey,
    /// Hash of the manifest as it was last applied ([`ContentHash::short`]); empty while an apply is under way.
    pub applied: String,
    /// Hash of our field manager's entry in the live object after that apply.
    pub owned: String,
    /// The object's UID, once the API server has answered.
    pub uid: String,
    /// Why pruning leaves it alone, when its manifest said so.
    pub keep: Option<String>,
    /// Paths that do not count in `owned`.
    pub yields: Vec<String>,
}

/// One service with everything planning needs to know about it.
#[derive(Debug)]
pub struct Unit {
    /// Service or add-on name, or [`ENVIRONMENT_UNIT`].
    pub name: String,
    /// What it should consist of.
    pub wanted: Wanted,
    /// What the inventory holds for it.
    pub held: Arc<[Held]>,
    /// Live objects, where somebody read them; an object that is held but not here is taken as last applied.
    pub live: BTreeMap<ObjectKey, Value>,
    /// Held objects of which an owned field was changed, or which were deleted, by somebody else.
    pub drifted: BTreeSet<ObjectKey>,
    /// Units that must be applied before this one.
    pub after: BTreeSet<String>,
    /// What it was planned as, where that depends on nothing else.
    planned: OnceLock<Arc<UnitPlan>>,
}

impl Unit {
    /// A unit of which no live object was read, that nobody changed, and that comes after nothing.
    #[must_use]
    pub fn new(name: &str, wanted: Wanted, held: impl Into<Arc<[Held]>>) -> Self {
        Self {
            name: name.to_owned(),
            wanted,
            held: held.into(),
            live: BTreeMap::new(),
            drifted: BTreeSet::new(),
            after: BTreeSet::new(),
            planned: OnceLock::new(),
        }
    }
}

/// Everything a plan is a function of.
#[derive(Debug)]
pub struct Request<'a> {
    /// Where.
    pub scope: &'a Scope,
    /// All units that are wanted or held. One that was planned before, among units of the same names, is not planned
    /// anew.
    pub units: &'a [Arc<Unit>],
    /// The typed schema for field differences.
    pub schema: &'a Schema,
    /// What the deletion brake has to know.
    pub brake: &'a Brake,
}

/// What happens to one object.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "action", rename_all = "camelCase")]
pub enum Action {
    /// The object does not exist yet.
    Create,
    /// Owned fields change. Empty where the live object was not read.
    Update {
        /// Field by field, in the order of the paths.
        changes: Vec<FieldChange>,
    },
    /// The object is as it should be; it costs no request.
    Unchanged,
    /// Deleted and made anew, since a field cannot be changed in place.
    Replace {
        /// Field by field.
        changes: Vec<FieldChange>,
    },
    /// Deleted after the rest is healthy.
    Delete,
    /// No longer wanted, and left alone.
    Keep,
    /// Wanted, but it cannot be done: the unit's apply would fail.
    Refuse,
}

/// One object of a plan.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// Which object.
    #[serde(serialize_with = "as_text")]
    pub key: ObjectKey,
    /// The stage it is applied in (and, in reverse, pruned in).
    pub stage: Stage,
    /// What happens.
    #[serde(flatten)]
    pub action: Action,
    /// Why, in a few words.
    pub reason: String,
    /// Paths on which a conflict with another manager yields (replicas that an autoscaler sets).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub yields: Vec<String>,
    /// What is sent; none for deletions.
    #[serde(skip)]
    pub manifest: Option<Manifest>,
}

/// What one service needs.
#[derive(Debug, Clone, Serialize)]
pub struct UnitPlan {
    /// Service or add-on name, or [`ENVIRONMENT_UNIT`].
    pub name: String,
    /// Units that must be applied before.
    pub after: BTreeSet<String>,
    /// Objects to apply, in the order of their stages.
    pub steps: Vec<Step>,
    /// Objects to delete or keep once the steps are healthy, in reverse order.
    pub prune: Vec<Step>,
    /// Images that the workloads run, sorted.
    pub images: BTreeSet<String>,
    /// Why the unit is left as it is, when what it should be is not known.
    pub broken: Option<String>,
    /// Whether the unit left the configuration as a whole.
    pub gone: bool,
    /// Hash of all of it.
    #[serde(skip)]
    id: OnceLock<ContentHash>,
}

impl UnitPlan {
    /// Answers whether applying the unit sends anything.
    #[must_use]
    pub fn changes(&self) -> bool {
        self.steps.iter().any(|step| step.action != Action::Unchanged) || self.deletes()
    }

    /// Answers whether anything of the unit goes.
    #[must_use]
    pub fn deletes(&self) -> bool {
        self.prune.iter().any(|step| step.action == Action::Delete)
    }
}

/// What an environment needs.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// Content hash: the same plan has the same id, so that an approval is bound to exactly this one.
    pub id: ContentHash,
    /// Where.
    #[serde(flatten)]
    pub scope: Scope,
    /// Units in an order in which each stands after those that it needs.
    pub units: Vec<Arc<UnitPlan>>,
    /// Whether its deletions may go ahead.
    pub verdict: Verdict,
}

/// How many objects a plan touches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Created, or made anew.
    pub add: usize,
    /// Changed in place.
    pub change: usize,
    /// Deleted, or deleted to be made anew.
    pub destroy: usize,
}

impl Plan {
    /// Counts what the plan touches, as its last line says it.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for step in self.units.iter().flat_map(|unit| unit.steps.iter().chain(&unit.prune)) {
            match step.action {
                Action::Create => counts.add += 1,
                Action::Update { .. } => counts.change += 1,
                Action::Delete => counts.destroy += 1,
                Action::Replace { .. } => {
                    counts.add += 1;
                    counts.destroy += 1;
                }
                Action::Unchanged | Action::Keep | Action::Refuse => {}
            }
        }
        counts
    }

    /// Answers whether applying the plan sends anything.
    #[must_use]
    pub fn changes(&self) -> bool {
        self.units.iter().any(|unit| unit.changes())
    }

    /// The unit of that name.
    #[must_use]
    pub fn unit(&self, name: &str) -> Option<&UnitPlan> {
        self.units.iter().find(|unit| unit.name == name).map(|unit| &**unit)
    }

    /// Units that may be worked on side by side, wave by wave: each wave needs only those before it.
    #[must_use]
    pub fn waves(&self) -> Vec<Vec<&Arc<UnitPlan>>> {
        let mut level: BTreeMap<&str, usize> = BTreeMap::new();
        for unit in &self.units {
            let own =
                unit.after.iter().filter_map(|name| level.get(name.as_str())).max().map_or(0, |max| max + 1);
            level.insert(&unit.name, own);
        }
        let mut waves = vec![Vec::new(); level.values().max().map_or(0, |max| max + 1)];
        for unit in &self.units {
            waves[level[unit.name.as_str()]].push(unit);
        }
        waves
    }

    /// The plan as it may go ahead now: with the brake on, every deletion is left out.
    #[must_use]
    pub fn allowed(mut self) -> Self {
        if matches!(self.verdict, Verdict::Held(_)) {
            self.keep("held by the deletion brake");
        }
        self
    }

    /// Answers whether anything goes.
    #[must_use]
    pub fn deletes(&self) -> bool {
        self.units.iter().any(|unit| unit.deletes())
    }

    /// Leaves out every deletion.
    pub fn keep(&mut self, why: &str) {
        for unit in self.units.iter_mut().filter(|unit| !unit.prune.is_empty()) {
            for step in Arc::make_mut(unit).prune.iter_mut().filter(|step| step.action == Action::Delete) {
                step.action = Action::Keep;
                why.clone_into(&mut step.reason);
            }
        }
    }
}

/// Why no plan can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Units need each other in a circle.
    #[error("services depend on each other in a circle: {}\nhint: remove one reference or dependsOn between them", .0.join(" → "))]
    Cycle(Vec<String>),
    /// Two units want the same object.
    #[error(
        "{key} is rendered by both `{first}` and `{second}`\nhint: rename one of the services, or the object in its template"
    )]
    TwoOwners {
        /// The object.
        key: Box<ObjectKey>,
        /// The unit that comes first by name.
        first: String,
        /// The other one.
        second: String,
    },
}

/// The plan's id: what is sent and what is deleted, and on what it builds.
fn identity(scope: &Scope, units: &[Arc<UnitPlan>]) -> ContentHash {
    let hash = Hasher::new("plan").text(scope.project.as_str()).text(scope.environment.as_str());
    units.iter().fold(hash, |hash, unit| hash.part(unit.id().bytes())).finish()
}

impl UnitPlan {
    /// Hash of what is sent and what is deleted, and on what it builds.
    fn id(&self) -> &ContentHash {
        self.id.get_or_init(|| self.hash())
    }

    fn hash(&self) -> ContentHash {
        let mut hash = Hasher::new("unit").text(&self.name).text(self.broken.as_deref().unwrap_or_default());
        for step in self.steps.iter().chain(&self.prune) {
            let verb = match step.action {
                Action::Create => "create",
                Action::Update { .. } => "update",
                Action::Unchanged => "unchanged",
                Action::Replace { .. } => "replace",
                Action::Delete => "delete",
                Action::Keep => "keep",
                Action::Refuse => "refuse",
            };
            let ObjectKey { group, kind, namespace, name } = &step.key;
            hash = hash.text(verb).text(group).text(kind).text(namespace.as_deref().unwrap_or_default());
            let sent = step.manifest.as_ref().map(Manifest::hash);
            hash = hash.text(name).part(sent.as_ref().map_or(&[][..], |sent| sent.bytes()));
        }
        hash.finish()
    }
}

fn as_text<S: serde::Serializer>(key: &ObjectKey, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(key)
}

#[cfg(test)]
mod tests;
