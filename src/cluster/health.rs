//! Whether what was applied works: the kstatus rules per kind, and the cause when it does not.
//!
//! The rules are those of kstatus (`sigs.k8s.io/cli-utils/pkg/kstatus`), with early failure: a rollout that cannot
//! become ready any more is `Failed` before its deadline, and says why.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use serde::Serialize;

use super::watch::Moves;
use super::{Cluster, ClusterError};
use crate::render::manifest::ObjectKey;
use crate::secret::Redactor;

mod cause;
mod kinds;

pub use cause::Cause;
pub use kinds::assess;

/// How soon a service is looked at after something of it moved, and how long nothing may move before it is looked at
/// in any case.
const SOON: Duration = Duration::from_millis(500);
const LATEST: Duration = Duration::from_secs(10);

/// The state of one object, or of all objects of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", content = "reason", rename_all = "camelCase")]
pub enum Health {
    /// As it should be.
    Current,
    /// On its way; says what is awaited.
    InProgress(String),
    /// It cannot become current without a change; says why.
    Failed(String),
    /// It is being deleted.
    Terminating,
}

/// The state of a service, object by object.
#[derive(Debug, Clone, Serialize)]
pub struct Checkup {
    /// The service as a whole.
    pub health: Health,
    /// All objects that were looked at: none where a watch had seen them to be current.
    #[serde(serialize_with = "by_text")]
    pub objects: BTreeMap<ObjectKey, Health>,
    /// Why it fails, as far down as it can be told: the pod, the container, its last lines.
    pub cause: Option<Cause>,
    /// What a reader should know although it stops nothing.
    pub notes: Vec<String>,
}

impl Checkup {
    fn of(keys: &[ObjectKey], objects: BTreeMap<ObjectKey, Health>, cause: Option<Cause>) -> Self {
        let ingress = keys.iter().filter(|key| key.kind == "Ingress");
        let note = |key| format!("{key} is not gating: an ingress controller may take its time");
        Self { health: overall(&objects), notes: ingress.map(note).collect(), objects, cause }
    }
}

/// Kinds that are as they should be as soon as the API server accepted them.
fn is_at_once(key: &ObjectKey) -> bool {
    match (key.group.as_str(), key.kind.as_str()) {
        ("", kind) => !matches!(kind, "PersistentVolumeClaim" | "Pod" | "ReplicationController"),
        ("rbac.authorization.k8s.io" | "networking.k8s.io" | "policy" | "autoscaling", _) => true,
        _ => false,
    }
}

/// Looks at the objects of a service once. Costs one GET for each workload, claim or unknown kind, and a look at
/// the pods of those that are not current.
///
/// # Errors
/// When the API does not answer.
pub async fn check(
    cluster: &Cluster,
    keys: &[ObjectKey],
    redactor: &Redactor,
) -> Result<Checkup, ClusterError> {
    let mut objects = BTreeMap::new();
    let mut cause = None;
    let reads =
        keys.iter().filter(|key| !is_at_once(key)).map(|key| async move { (key, cluster.get(key).await) });
    for (key, live) in futures::future::join_all(reads).await {
        let Some(live) = live? else {
            objects.insert(key.clone(), Health::InProgress(format!("{key} is not there yet")));
            continue;
        };
        let mut health = assess(&live);
        if !matches!(health, Health::Current | Health::Terminating) {
            let found = cause::find(cluster, key, &live, redactor).await?;
            if let (Some(found), Health::InProgress(_)) = (&found, &health)
                && found.is_final
            {
                health = Health::Failed(found.message.clone());
            }
            if matches!(health, Health::Failed(_)) {
                cause = cause.or(found);
            }
        }
        objects.insert(key.clone(), health);
    }
    Ok(Checkup::of(keys, objects, cause))
}

/// A service is as well as its worst object.
fn overall(objects: &BTreeMap<ObjectKey, Health>) -> Health {
    let rank = |health: &Health| match health {
        Health::Failed(_) => 0,
        Health::Terminating => 1,
        Health::InProgress(_) => 2,
        Health::Current => 3,
    };
    match objects.iter().min_by_key(|(_, health)| rank(health)) {
        None | Some((_, Health::Current)) => Health::Current,
        Some((key, Health::InProgress(why))) => Health::InProgress(format!("{key}: {why}")),
        Some((key, Health::Failed(why))) => Health::Failed(format!("{key}: {why}")),
        Some((key, Health::Terminating)) => Health::InProgress(format!("{key} is being deleted")),
    }
}

/// Looks again and again until the service is current or failed, or the time is over; the last look is returned.
///
/// What `moves` saw to be current costs no request. After something moved and is not current it is asked why; where
/// nothing moves the clock asks, ever more seldom: a watch may be cut off, and that time has passed is told by none.
///
/// # Errors
/// When the API does not answer.
pub async fn wait(
    cluster: &Cluster,
    keys: &[ObjectKey],
    redactor: &Redactor,
    moves: &Moves,
    limit: Duration,
) -> Result<Checkup, ClusterError> {
    let clock = cluster.clock();
    let until = clock.now() + limit;
    let mut pause = SOON;
    loop {
        let mut look = pin!(clock.sleep(pause));
        let mut moved = false;
        loop {
            if keys.iter().filter(|key| !is_at_once(key)).all(|key| moves.is_current(key)) {
                return Ok(Checkup::of(keys, BTreeMap::new(), None));
            }
            tokio::select! {
                () = moves.next() => if !std::mem::replace(&mut moved, true) && pause > SOON {
                    look.set(clock.sleep(SOON));
                },
                () = &mut look => break,
            }
        }
        let checkup = check(cluster, keys, redactor).await?;
        if matches!(checkup.health, Health::Current | Health::Failed(_)) || clock.now() >= until {
            return Ok(checkup);
        }
        pause = (if moved { SOON } else { pause } * 2).min(LATEST);
    }
}

fn by_text<S: serde::Serializer>(objects: &BTreeMap<ObjectKey, Health>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(objects.iter().map(|(key, health)| (key.to_string(), health)))
}
