//! Removals that the brake holds, and what somebody said of them. Both outlive the process.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::places::Place;
use super::{Hint, ReconcileError, Reconciler, Snapshot, chain};
use crate::desired::Environment;
use crate::hash::ContentHash;
use crate::name::{EnvironmentName, ProjectName, Revision};
use crate::plan::{Plan, Verdict, brake};
use crate::store::StoreError;

const HELD: &str = "held";
const APPROVED: &str = "approvals";

/// A removal that the brake holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldRemoval {
    /// Of this project.
    pub project: ProjectName,
    /// From this environment.
    pub environment: EnvironmentName,
    /// Where that is.
    #[serde(flatten)]
    pub(super) place: Place,
    /// What a person says yes to; none where no word of a person helps.
    pub plan: Option<ContentHash>,
    /// What would go.
    pub services: Vec<String>,
    /// Why it is held, each in a clause.
    pub reasons: Vec<String>,
    /// The whole plan, for people.
    pub text: String,
}

/// What somebody said yes to: the removal of these services by the config as it was then.
#[derive(Serialize, Deserialize)]
struct Approval {
    config: Option<Revision>,
    services: BTreeSet<String>,
}

impl Reconciler {
    /// The removals that the brake holds.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn held(&self) -> Result<Vec<HeldRemoval>, StoreError> {
        let rows = self.store().list(HELD).await?;
        Ok(rows.into_iter().filter_map(|(_, bytes)| serde_json::from_slice(&bytes).ok()).collect())
    }

    /// Says yes to a removal that the brake holds, by its plan. It holds for the config as it is now: the same removal
    /// by a later commit is asked about again. While its services go, one by one, nothing is asked again.
    ///
    /// # Errors
    /// When the store does not answer.
    ///
    /// # Panics
    /// Never: names can always be written.
    pub async fn approve(&self, plan: ContentHash) -> Result<(), StoreError> {
        let config = self.0.snapshot.borrow().config_revision.clone();
        for held in self.held().await?.into_iter().filter(|held| held.plan == Some(plan)) {
            let key = held.place.key(&held.project, &held.environment);
            let approval = Approval { config: config.clone(), services: held.services.into_iter().collect() };
            let bytes = serde_json::to_vec(&approval).expect("names can always be written");
            self.store().put(APPROVED, &key, &bytes).await?;
        }
        if let Some(config) = config {
            // that it waits for somebody was its last word
            let (repo, now) = (self.0.parts.config.url.key(), self.0.parts.clock.now());
            self.store().open_commit(repo, config.as_str(), now).await?;
        }
        self.hint(Hint::Everything);
        Ok(())
    }

    /// The services of an environment whose removal waits for a person. What waits for a complete reading goes by itself
    /// once there is one.
    pub(super) async fn held_before(
        &self,
        environment: &Environment,
    ) -> Result<BTreeSet<String>, StoreError> {
        let key = self.place_key(environment);
        let row = self.store().get(HELD, &key).await?;
        let held: Option<HeldRemoval> = row.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let held = held.filter(|held| held.plan.is_some());
        Ok(held.map(|held| held.services.into_iter().collect()).unwrap_or_default())
    }

    /// Forgets what was said of another config than the one that is followed now.
    pub(super) async fn void_approvals(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        for (key, bytes) in self.store().list(APPROVED).await? {
            let approval: Option<Approval> = serde_json::from_slice(&bytes).ok();
            if approval.is_none_or(|approval| approval.config != snapshot.config_revision) {
                self.store().remove(APPROVED, &key).await?;
            }
        }
        Ok(())
    }

    /// Whether somebody said yes to what a plan removes, and to the config as it is.
    pub(super) async fn is_approved(
        &self,
        held: &brake::Held,
        environment: &Environment,
        snapshot: &Snapshot,
    ) -> Result<bool, StoreError> {
        let key = self.place_key(environment);
        self.covers(&key, &held.services, snapshot).await
    }

    /// Whether somebody said yes to the removal of services from the place of this key, and to the config as it is.
    async fn covers(&self, key: &str, services: &[String], snapshot: &Snapshot) -> Result<bool, StoreError> {
        let Some(bytes) = self.store().get(APPROVED, key).await? else { return Ok(false) };
        let approval: Option<Approval> = serde_json::from_slice(&bytes).ok();
        Ok(approval.is_some_and(|approval| {
            approval.config == snapshot.config_revision
                && services.iter().all(|service| approval.services.contains(service))
        }))
    }

    /// The removals that wait for somebody, and whether others were let go and are under way.
    pub(super) async fn waiting_removals(
        &self,
        snapshot: &Snapshot,
    ) -> Result<(Vec<HeldRemoval>, bool), StoreError> {
        let (mut waiting, mut under_way) = (Vec::new(), false);
        for held in self.held().await? {
            let key = held.place.key(&held.project, &held.environment);
            if self.covers(&key, &held.services, snapshot).await? {
                under_way = true;
            } else {
                waiting.push(held);
            }
        }
        Ok((waiting, under_way))
    }

    /// Records what the brake holds of a plan, for pages, the command line and whoever answers; says whether it holds
    /// anything.
    pub(super) async fn record_held(
        &self,
        environment: &Environment,
        plan: &Plan,
    ) -> Result<bool, ReconcileError> {
        let Verdict::Held(held) = &plan.verdict else { return Ok(false) };
        let removal = HeldRemoval {
            project: environment.project.clone(),
            environment: environment.name.clone(),
            place: self.place(environment),
            plan: held.can_be_approved().then_some(held.plan),
            services: held.services.clone(),
            reasons: held.reasons.iter().map(ToString::to_string).collect(),
            text: plan.to_string(),
        };
        self.hold(environment, &removal).await?;
        Ok(true)
    }

    /// Records that what should go cannot even be planned.
    pub(super) async fn record_unreachable(
        &self,
        environment: &Environment,
        services: Vec<String>,
        error: &ReconcileError,
    ) -> Result<(), StoreError> {
        let why = chain(error);
        let removal = HeldRemoval {
            project: environment.project.clone(),
            environment: environment.name.clone(),
            place: self.place(environment),
            plan: None,
            services,
            text: why.clone(),
            reasons: vec![why],
        };
        self.hold(environment, &removal).await
    }

    async fn hold(&self, environment: &Environment, removal: &HeldRemoval) -> Result<(), StoreError> {
        let key = removal.place.key(&removal.project, &removal.environment);
        let bytes = serde_json::to_vec(removal).expect("names and texts can always be written");
        if self.store().get(HELD, &key).await?.as_deref() == Some(&bytes) {
            return Ok(());
        }
        self.store().put(HELD, &key, &bytes).await?;
        let way = removal.plan.map(|plan| format!(": `branchline approve {}`", plan.short()));
        let message = format!(
            "The removal of {} is held, since {}{}",
            removal.services.join(", "),
            removal.reasons.join(", and "),
            way.unwrap_or_default()
        );
        self.event(environment, None, "held", &message).await
    }

    /// Nothing is held of the place of this key any more.
    pub(super) async fn release(&self, key: &str) -> Result<(), StoreError> {
        // most never were
        if self.store().get(HELD, key).await?.is_some() {
            self.store().remove(HELD, key).await?;
        }
        Ok(())
    }
}
