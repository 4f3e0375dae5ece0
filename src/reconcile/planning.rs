//! What an environment needs: everything of an attempt that only decides.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use super::clusters::Handle;
use super::last_good::Standing;
use super::prepare::{Prepared, Ready};
use super::record::Record;
use super::{ReconcileError, Reconciler, Snapshot};
use crate::desired::{self, Environment};
use crate::merge::Schema;
use crate::name::ServiceName;
use crate::plan::{self, Brake, ENVIRONMENT_UNIT, Held, Plan, Request, Scope, Unit, Verdict, brake};
use crate::render::{self, Manifest, TemplateSet};
use serde_json::json;

/// What an attempt decided.
pub(super) struct Planned {
    pub(super) plan: Plan,
    pub(super) prepared: Arc<Ready>,
    /// As they were when it was decided.
    pub(super) records: BTreeMap<ServiceName, Arc<Record>>,
    pub(super) standing: BTreeMap<ServiceName, Standing>,
    pub(super) handle: Arc<Handle>,
}

/// What the services of an environment were planned as the last time. It saves work and decides nothing.
#[derive(Default)]
pub(super) struct Known(Mutex<(BTreeSet<String>, BTreeMap<String, Kept>)>);

/// A unit, and what it was made of.
struct Kept {
    prepared: Arc<Prepared>,
    held: Arc<[Held]>,
    unit: Arc<Unit>,
}

impl Kept {
    fn is_of(&self, prepared: &Arc<Prepared>, held: &Arc<[Held]>) -> bool {
        Arc::ptr_eq(&self.prepared, prepared) && Arc::ptr_eq(&self.held, held)
    }
}

impl Known {
    /// What is known of an environment with units of these names: among others, nothing.
    fn take(&self, names: &BTreeSet<String>) -> BTreeMap<String, Kept> {
        let mut known = self.0.lock().expect("no holder of this lock panics");
        let (of, kept) = std::mem::replace(&mut *known, (names.clone(), BTreeMap::new()));
        if of == *names { kept } else { BTreeMap::new() }
    }

    fn keep(&self, name: &str, kept: Kept) {
        self.0.lock().expect("no holder of this lock panics").1.insert(name.to_owned(), kept);
    }
}

impl Reconciler {
    /// Everything of an attempt that only decides.
    pub(super) async fn plan_environment(
        &self,
        snapshot: &Snapshot,
        environment: &Arc<Environment>,
    ) -> Result<Planned, ReconcileError> {
        let handle = self.open(environment).await?;
        let prepared = self.prepare_all(snapshot, environment, &handle.prepared).await;
        let records = self.records_of(&environment.project, &environment.name).await?;
        let standing = self.standing_services(environment, &prepared, &records, &handle).await?;
        let plan = self.plan(snapshot, environment, &handle, &prepared, &standing).await?;
        Ok(Planned { plan, prepared, records, standing, handle })
    }

    /// Makes the plan of an environment from what is prepared and what the inventory holds.
    async fn plan(
        &self,
        snapshot: &Snapshot,
        environment: &Environment,
        handle: &Handle,
        prepared: &Ready,
        standing: &BTreeMap<ServiceName, Standing>,
    ) -> Result<Plan, ReconcileError> {
        let units = units(snapshot, environment, handle, prepared, standing);
        let scope = Scope {
            project: environment.project.clone(),
            environment: environment.name.clone(),
            namespace: environment.namespace.clone(),
            preview: environment.preview.is_some(),
        };
        let mut brake = self.brake(snapshot, environment);
        let under = |brake: &Brake| {
            plan::plan(&Request { scope: &scope, units: &units, schema: Schema::builtin(), brake })
        };
        let mut plan = under(&brake)?;
        if plan.deletes() {
            // both are asked for only where something goes
            brake.held_before = self.held_before(environment).await?;
            if let Some(owner) = self.owner_before(environment).await? {
                brake.vanished = Some(brake::Vanished::Owner(owner));
            }
            plan = under(&brake)?;
        }
        if let Verdict::Held(held) = &plan.verdict
            && self.is_approved(held, environment, snapshot).await?
        {
            plan = under(&Brake { approved: Some(plan.id), ..brake.clone() })?;
        }
        if !environment.prune {
            plan.keep("sync.prune is off");
        }
        Ok(plan)
    }

    /// What the deletion brake is told of an environment.
    fn brake(&self, snapshot: &Snapshot, environment: &Environment) -> Brake {
        let policy = snapshot.config.config.as_ref().and_then(|config| config.spec.policy.as_ref());
        let percent = policy.and_then(|policy| policy.max_delete_percent).unwrap_or(30);
        let incomplete = if environment.absence_is_proven {
            Vec::new()
        } else {
            vec![format!("the folder of the project `{}`: a file in it cannot be read", environment.project)]
        };
        let vanished = match snapshot.environment(environment.project.as_str(), environment.name.as_str()) {
            Some(there) if self.place(there) == self.place(environment) => None,
            Some(_) => Some(brake::Vanished::Place),
            None if snapshot.config.projects.contains_key(&environment.project) => {
                Some(brake::Vanished::Environment)
            }
            None => Some(brake::Vanished::Project),
        };
        Brake {
            max_delete_percent: u8::try_from(percent).unwrap_or(100),
            vanished,
            incomplete,
            closed: environment.preview.as_ref().map(|_| brake::Closed::TwoListings),
            ..Brake::default()
        }
    }
}

/// Everything that a plan is made of, for the environment and each of its services.
fn units(
    snapshot: &Snapshot,
    environment: &Environment,
    handle: &Handle,
    prepared: &Ready,
    standing: &BTreeMap<ServiceName, Standing>,
) -> Vec<Arc<Unit>> {
    let drifted = if environment.self_heal {
        handle.watches.drifted(environment.namespace.as_str())
    } else {
        BTreeMap::new()
    };
    let services = environment.services.keys().chain(environment.broken.keys()).map(ToString::to_string);
    let mut names: BTreeSet<String> = services.chain(handle.set.units()).collect();
    names.remove(ENVIRONMENT_UNIT);
    let mut known = handle.planned.take(&names);
    let objects = plan::Wanted::Objects(environment_objects(snapshot, environment));
    let mut units = vec![Arc::new(Unit::new(ENVIRONMENT_UNIT, objects, handle.set.held(ENVIRONMENT_UNIT)))];
    for name in &names {
        let held = handle.set.held(name);
        let service = name.parse::<ServiceName>().ok();
        let stands = service.as_ref().and_then(|service| standing.get(service));
        let ready = service.as_ref().and_then(|service| prepared.get(service)).filter(|_| stands.is_none());
        let is_off = !drifted.is_empty() && held.iter().any(|object| drifted.contains_key(&object.key));
        if let Some(ready) = ready.filter(|_| !is_off)
            && let Some(kept) = known.remove(name).filter(|kept| kept.is_of(ready, &held))
        {
            units.push(Arc::clone(&kept.unit));
            handle.planned.keep(name, kept);
            continue;
        }
        let wanted = service.as_ref().map_or(plan::Wanted::Gone, |service| {
            wanted(environment, prepared.get(service).map(|ready| &**ready), stands, service)
        });
        let mut unit = Unit::new(name, wanted, Arc::clone(&held));
        let after = service.and_then(|service| environment.services.get(&service));
        let after = after.into_iter().flat_map(|service| &service.after);
        let after = after.filter(|service| environment.services.contains_key(*service));
        unit.after = after.map(ToString::to_string).collect();
        unit.drifted =
            held.iter().map(|object| &object.key).filter(|key| drifted.contains_key(key)).cloned().collect();
        let unit = Arc::new(unit);
        if let Some(ready) = ready.filter(|_| !is_off) {
            let (prepared, unit) = (Arc::clone(ready), Arc::clone(&unit));
            handle.planned.keep(name, Kept { prepared, held, unit });
        }
        units.push(unit);
    }
    units
}

/// What an environment has of its own: its namespace.
fn environment_objects(snapshot: &Snapshot, environment: &Environment) -> Vec<Manifest> {
    let templates = snapshot.templates.as_deref().unwrap_or_else(|| TemplateSet::builtin());
    let values = json!({
        "project": {"name": environment.project},
        "environment": {"name": environment.name, "preview": environment.preview.is_some()},
        "namespace": environment.namespace,
        "name": environment.namespace,
    });
    render::render(templates, "namespace", &values).unwrap_or_else(|errors| {
        let first = errors.first().map(ToString::to_string).unwrap_or_default();
        tracing::warn!(environment = %environment.name, error = %first, "The template of namespaces is broken; the built-in one is used.");
        render::render(TemplateSet::builtin(), "namespace", &values).unwrap_or_default()
    })
}

/// What a service should consist of, in the words of a plan.
fn wanted(
    environment: &Environment,
    prepared: Option<&Prepared>,
    standing: Option<&Standing>,
    name: &ServiceName,
) -> plan::Wanted {
    if let Some(standing) = standing {
        let (reason, standing) = (standing.why.clone(), standing.manifests.clone());
        return plan::Wanted::Broken { reason, standing };
    }
    let as_it_is = |reason: &str| plan::Wanted::Broken { reason: reason.to_owned(), standing: Vec::new() };
    match (environment.services.get(name).map(|service| &service.state), prepared) {
        (Some(desired::Wanted::Run(_)), Some(Prepared { manifests: Ok(manifests), .. })) => {
            plan::Wanted::Objects(manifests.clone())
        }
        // it waits for its image
        (Some(desired::Wanted::Run(_)), Some(Prepared { manifests: Err(refusal), .. })) => {
            as_it_is(&refusal.message)
        }
        (Some(desired::Wanted::Run(_) | desired::Wanted::Unknown(_)), _) => as_it_is("it was not prepared"),
        (Some(desired::Wanted::Waiting), _) => as_it_is("it waits for `branchline deploy`"),
        (Some(desired::Wanted::NotReleased) | None, _) => plan::Wanted::Gone,
    }
}
