//! Making a plan: what is wanted against what is held, unit by unit.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

use serde_json::Value;

use super::{
    Action, FieldChange, Held, Plan, PlanError, Request, Scope, Stage, Step, Unit, UnitPlan, Wanted, brake,
    diff, identity, immutable, keep, order, yielding,
};
use crate::merge::Schema;
use crate::render::manifest::{Manifest, ObjectKey};

/// Makes the plan of one environment.
///
/// # Errors
/// When units depend on each other in a circle, or two of them want the same object.
pub fn plan(request: &Request<'_>) -> Result<Plan, PlanError> {
    let owners = owners(request.units)?;
    let names = order::names(request.units);
    let mut units = Vec::with_capacity(request.units.len());
    for index in order::sort(request.units)? {
        let unit = &request.units[index];
        let plan = unit.planned.get().map_or_else(
            || {
                let plan = Arc::new(plan_unit(request, unit, &names, &owners));
                let alone = plan.prune.is_empty() && plan.broken.is_none() && unit.live.is_empty();
                if alone { Arc::clone(unit.planned.get_or_init(|| plan)) } else { plan }
            },
            Arc::clone,
        );
        units.push(plan);
    }
    let id = identity(request.scope, &units);
    let deletes = units.iter().any(|unit| unit.deletes());
    let verdict = brake::judge(request.scope, request.brake, request.units, deletes, &id);
    Ok(Plan { id, scope: request.scope.clone(), units, verdict })
}

/// Which unit wants which object.
fn owners(units: &[Arc<Unit>]) -> Result<HashMap<&ObjectKey, &str>, PlanError> {
    let mut sorted: Vec<&Arc<Unit>> = units.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    let mut owners = HashMap::with_capacity(units.len());
    for unit in sorted {
        let Wanted::Objects(manifests) = &unit.wanted else { continue };
        for manifest in manifests {
            if let Some(first) = owners.insert(manifest.key(), unit.name.as_str()) {
                return Err(PlanError::TwoOwners {
                    key: Box::new(manifest.key().clone()),
                    first: first.to_owned(),
                    second: unit.name.clone(),
                });
            }
        }
    }
    Ok(owners)
}

fn plan_unit(
    request: &Request<'_>,
    unit: &Unit,
    names: &BTreeSet<&str>,
    owners: &HashMap<&ObjectKey, &str>,
) -> UnitPlan {
    let mut plan = UnitPlan {
        name: unit.name.clone(),
        after: order::needs(names, unit).map(str::to_owned).collect(),
        steps: Vec::new(),
        prune: Vec::new(),
        images: BTreeSet::new(),
        broken: None,
        gone: matches!(unit.wanted, Wanted::Gone),
        id: OnceLock::new(),
    };
    let wanted: Vec<&Manifest> = match &unit.wanted {
        Wanted::Objects(manifests) => manifests.iter().collect(),
        Wanted::Gone => Vec::new(),
        Wanted::Broken { reason, standing } => {
            plan.broken = Some(reason.clone());
            standing.iter().filter(|manifest| !owners.contains_key(manifest.key())).collect()
        }
    };
    let held: BTreeMap<&ObjectKey, &Held> = unit.held.iter().map(|held| (&held.key, held)).collect();
    let mut yields = yielding::yields(&wanted);
    for manifest in wanted {
        let key = manifest.key();
        let yields = yields.remove(key).unwrap_or_default();
        plan.steps.push(step(request.schema, unit, held.get(key).copied(), manifest, yields));
        plan.images.extend(images(manifest.object()));
    }
    plan.steps.sort_by(|a, b| (a.stage, &a.key).cmp(&(b.stage, &b.key)));
    if plan.broken.is_some() {
        return plan;
    }
    plan.prune = unit
        .held
        .iter()
        .filter(|held| !plan.steps.iter().any(|step| step.key == held.key))
        .map(|held| leaving(request.scope, unit, held, owners))
        .collect();
    plan.prune.sort_by(|a, b| (b.stage, &b.key).cmp(&(a.stage, &a.key)));
    plan
}

/// The step that brings one wanted object about.
fn step(schema: &Schema, unit: &Unit, held: Option<&Held>, manifest: &Manifest, yields: Vec<String>) -> Step {
    let key = manifest.key().clone();
    let live = unit.live.get(&key);
    let same = held.is_some_and(|held| held.applied == manifest.hash().short());
    let foreign = || "changed in the cluster by somebody else".to_owned();
    let (action, reason) = match (held, live) {
        (None, None) => (Action::Create, "new".to_owned()),
        (Some(held), None) if held.uid.is_empty() => {
            (Action::Create, "an earlier apply was cut short".to_owned())
        }
        (Some(_), None) if same && !unit.drifted.contains(&key) => (Action::Unchanged, String::new()),
        (Some(_), None) if same => (Action::Update { changes: Vec::new() }, foreign()),
        (Some(_), None) => changed(&key, Vec::new()),
        (_, Some(live)) => match diff::owned_changes(schema, live, manifest.object(), &yields) {
            Ok(changes) if changes.is_empty() && same => (Action::Unchanged, String::new()),
            Ok(changes) if changes.is_empty() => {
                (Action::Update { changes }, "to be recorded anew".to_owned())
            }
            Ok(changes) if same => (Action::Update { changes }, foreign()),
            Ok(changes) => changed(&key, changes),
            Err(why) => (Action::Refuse, why.to_string()),
        },
    };
    Step { stage: Stage::of(&key), key, action, reason, yields, manifest: Some(manifest.clone()) }
}

/// Update, replace or refuse, by which of the changed fields can be changed in place.
pub(super) fn changed(key: &ObjectKey, changes: Vec<FieldChange>) -> (Action, String) {
    match immutable::judge(key, &changes) {
        immutable::Judgement::InPlace => (Action::Update { changes }, "changed in Git".to_owned()),
        immutable::Judgement::Replace(why) => (Action::Replace { changes }, why),
        immutable::Judgement::Refuse(why) => (Action::Refuse, why),
    }
}

/// The step for an object that its unit no longer wants.
fn leaving(scope: &Scope, unit: &Unit, held: &Held, owners: &HashMap<&ObjectKey, &str>) -> Step {
    let kept = owners
        .get(&held.key)
        .map(|owner| format!("it belongs to `{owner}` now"))
        .or_else(|| keep::kept_because(scope, held, unit.live.get(&held.key)));
    let (action, reason) = match kept {
        Some(why) => (Action::Keep, why),
        None if matches!(unit.wanted, Wanted::Gone) => {
            (Action::Delete, "the service left the configuration".to_owned())
        }
        None => (Action::Delete, "no longer rendered".to_owned()),
    };
    Step {
        stage: Stage::of(&held.key),
        key: held.key.clone(),
        action,
        reason,
        yields: Vec::new(),
        manifest: None,
    }
}

/// Images of the containers in a workload's pod template.
fn images(object: &Value) -> Vec<String> {
    ["/spec", "/spec/template/spec", "/spec/jobTemplate/spec/template/spec"]
        .iter()
        .filter_map(|at| object.pointer(at))
        .flat_map(|spec| ["initContainers", "containers"].map(|list| &spec[list]))
        .filter_map(Value::as_array)
        .flatten()
        .filter_map(|container| container["image"].as_str().map(str::to_owned))
        .collect()
}
