//! One attempt of one environment: key → render → plan, then a rollout for each service that has something to do.
//!
//! An attempt waits for nothing but Git and the inventory. It decides; rollouts do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::artifact::Artifact;
use super::clusters::Handle;
use super::last_good::Standing;
use super::rollout::Work;
use super::{AtEnd, FAULT, Hint, ReconcileError, Reconciler, Snapshot, chain, image};
use crate::build::BuildOrder;
use crate::cluster;
use crate::desired::{Environment, Runtime, Service, Wanted};
use crate::hash::{ContentHash, Hasher};
use crate::merge::Schema;
use crate::name::{EnvironmentName, ImageRef, ProjectName, Revision, ServiceName};
use crate::plan::{self, Brake, ENVIRONMENT_UNIT, Plan, Scope, Unit, Verdict, brake};
use crate::render::{self, Manifest, TemplateSet, policy};
use crate::store::Deployment;
use serde_json::{Value, json};

/// A service as an attempt sees it: what it should consist of, or why nobody can say.
pub(super) struct Prepared {
    pub(super) service: Arc<Service>,
    /// Hash of everything that goes in.
    pub(super) digest: ContentHash,
    pub(super) manifests: Result<Vec<Manifest>, Refusal>,
    pub(super) order: Option<BuildOrder>,
    pub(super) image: Option<String>,
    /// The tag that its image is named by, where it is.
    pub(super) tag: Option<ImageRef>,
    /// Hash of everything that goes in, but for the digest that the tag means: by it a deployment begins.
    pub(super) before: Option<ContentHash>,
}

impl Prepared {
    /// The tag whose digest is not known yet.
    pub(super) fn awaits(&self) -> Option<&ImageRef> {
        self.tag.as_ref().filter(|_| self.image.is_none())
    }
}

impl Prepared {
    /// What the service should be.
    pub(super) fn wish(&self) -> Wish {
        Wish { revision: self.service.revision().cloned(), digest: self.digest, before: self.before }
    }
}

/// What a service should be, as of its last attempt.
#[derive(Clone)]
pub(super) struct Wish {
    pub(super) revision: Option<Revision>,
    pub(super) digest: ContentHash,
    /// As a deployment begins before the digest of its image is known.
    pub(super) before: Option<ContentHash>,
}

impl Wish {
    /// Whether a deployment is for it.
    pub(super) fn is_of(&self, deployment: &Deployment) -> bool {
        let same = |digest: ContentHash| deployment.input_digest == digest.to_string();
        same(self.digest) || self.before.is_some_and(same)
    }
}

/// How far attempts have followed the surveys.
#[derive(Default)]
pub(super) struct Attempted {
    /// The revision of the config whose environments have all been attempted.
    pub(super) config: Option<Revision>,
    /// Environments whose last attempt could not be made, or not as a whole.
    pub(super) failed: BTreeSet<(ProjectName, EnvironmentName)>,
}

/// What an attempt decided.
pub(super) struct Planned {
    pub(super) plan: Plan,
    pub(super) prepared: BTreeMap<ServiceName, Prepared>,
    pub(super) standing: BTreeMap<ServiceName, Standing>,
    pub(super) handle: Arc<Handle>,
}

/// Why a service cannot be rendered. The author mends it.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) step: &'static str,
    pub(super) message: String,
}

impl Reconciler {
    /// Attempts every environment that changed between two snapshots or that a hint names, and takes down those that
    /// should no longer exist.
    pub(super) async fn attempt_due(&self, before: &Snapshot, now: &Arc<Snapshot>, hints: &BTreeSet<Hint>) {
        if now.at.is_none() {
            return;
        }
        let old: BTreeMap<_, _> = before.environments.iter().map(|e| ((&e.project, &e.name), e)).collect();
        let mut due = Vec::new();
        // templates and policies are no part of an environment, and may change all of them
        let for_all =
            before.config.templates != now.config.templates || before.config.config != now.config.config;
        for environment in &now.environments {
            let hinted =
                for_all || hints.contains(&Hint::Everything) || hints.contains(&Hint::at(environment));
            let changed =
                old.get(&(&environment.project, &environment.name)).is_none_or(|e| *e != environment);
            if hinted || changed || !self.has_settled(environment).await {
                due.push(Arc::clone(environment));
            }
        }
        let attempts = due.into_iter().map(|environment| {
            let (this, now, of) = (self.clone(), Arc::clone(now), Arc::clone(&environment));
            let attempt = self.0.tasks.spawn(async move { this.attempt(&now, &of).await });
            async move {
                if attempt.await.is_err() {
                    self.note_attempt(&(environment.project.clone(), environment.name.clone()), false);
                    self.record_stopped(&environment, environment.services.keys(), FAULT).await;
                }
            }
        });
        futures::future::join_all(attempts).await;
        {
            let mut attempted = self.0.attempted.lock().expect("no holder of this lock panics");
            attempted.config.clone_from(&now.config_revision);
            attempted.failed.retain(|(project, name)| {
                now.environments.iter().any(|e| e.project == *project && e.name == *name)
            });
        }
        if now.config.is_usable() {
            self.take_down(now).await;
        }
    }

    /// Whether nothing of an environment waits for another attempt.
    async fn has_settled(&self, environment: &Environment) -> bool {
        let open = self.open_handle(&environment.cluster.0, &environment.namespace).await;
        open.is_some_and(|handle| handle.watches.drifted(environment.namespace.as_str()).is_empty())
    }

    /// One attempt, from the snapshot to running rollouts. Errors are recorded on the services they stop.
    async fn attempt(&self, snapshot: &Snapshot, environment: &Arc<Environment>) {
        let key = (environment.project.clone(), environment.name.clone());
        self.0.busy.send_modify(|busy| {
            busy.insert(key.clone());
        });
        let _ended = AtEnd(|| {
            self.0.busy.send_modify(|busy| {
                busy.remove(&key);
            });
        });
        let result = self.try_attempt(snapshot, environment).await;
        self.note_attempt(&key, matches!(result, Ok(true)));
        if let Err(error) = result {
            let message = chain(&error);
            tracing::warn!(project = %environment.project, environment = %environment.name, error = %message, "An attempt failed; what runs goes on.");
            self.record_stopped(environment, environment.services.keys(), &message).await;
        }
    }

    /// Notes whether an environment could be attempted.
    fn note_attempt(&self, key: &(ProjectName, EnvironmentName), made: bool) {
        let mut attempted = self.0.attempted.lock().expect("no holder of this lock panics");
        if made {
            attempted.failed.remove(key);
        } else {
            attempted.failed.insert(key.clone());
        }
    }

    /// Says whether all of it has begun.
    pub(super) async fn try_attempt(
        &self,
        snapshot: &Snapshot,
        environment: &Arc<Environment>,
    ) -> Result<bool, ReconcileError> {
        let Planned { plan, mut prepared, mut standing, handle } =
            self.plan_environment(snapshot, environment).await?;
        self.record_held(environment, &plan).await?;
        let plan = plan.allowed();
        self.forget_strays(environment, &plan).await?;
        handle.set.look_around(&plan).await?;
        self.namespace(&handle, environment, &plan).await?;
        self.record_quiet(environment).await?;
        let mut whole = true;
        for unit in plan.units.iter().filter(|unit| unit.name != ENVIRONMENT_UNIT) {
            let Ok(name) = unit.name.parse::<ServiceName>() else { continue };
            let work = Work {
                environment: Arc::clone(environment),
                config_revision: snapshot.config_revision.clone(),
                name: name.clone(),
                unit: unit.clone(),
                prepared: prepared.remove(&name),
                standing: standing.remove(&name),
                handle: Arc::clone(&handle),
            };
            whole &= self.roll_out(work).await?;
        }
        Ok(whole)
    }

    /// Everything of an attempt that only decides.
    pub(super) async fn plan_environment(
        &self,
        snapshot: &Snapshot,
        environment: &Arc<Environment>,
    ) -> Result<Planned, ReconcileError> {
        let handle = self.handle(environment).await?;
        if handle.compare().await? {
            let message = "The embedded cluster was started again, and everything in it";
            self.event(environment, None, "restarted", message).await?;
        }
        let templates = snapshot.templates.as_deref().unwrap_or_else(|| TemplateSet::builtin());
        let mut prepared = BTreeMap::new();
        for service in environment.services.values() {
            if service.run().is_some() {
                let ready = self.prepare(snapshot, environment, service, templates).await;
                prepared.insert(service.name.clone(), ready);
            }
        }
        let standing = self.standing_services(environment, &prepared, &handle).await?;
        let plan = self.plan(snapshot, environment, &handle, &prepared, &standing)?;
        Ok(Planned { plan, prepared, standing, handle })
    }

    /// Makes the plan of an environment from what is prepared and what the inventory holds.
    fn plan(
        &self,
        snapshot: &Snapshot,
        environment: &Environment,
        handle: &Handle,
        prepared: &BTreeMap<ServiceName, Prepared>,
        standing: &BTreeMap<ServiceName, Standing>,
    ) -> Result<Plan, ReconcileError> {
        let drifted: BTreeSet<_> = if environment.self_heal {
            handle.watches.drifted(environment.namespace.as_str()).into_keys().collect()
        } else {
            BTreeSet::new()
        };
        let names: BTreeSet<String> = environment
            .services
            .keys()
            .chain(environment.broken.keys())
            .map(ToString::to_string)
            .chain(handle.set.units())
            .filter(|name| name != ENVIRONMENT_UNIT)
            .collect();
        let mut units = vec![Unit {
            name: ENVIRONMENT_UNIT.to_owned(),
            wanted: plan::Wanted::Objects(Self::environment_objects(snapshot, environment)),
            held: handle.set.held(ENVIRONMENT_UNIT),
            live: BTreeMap::new(),
            drifted: BTreeSet::new(),
            after: BTreeSet::new(),
        }];
        for name in names {
            let held = handle.set.held(&name);
            let service = name.parse::<ServiceName>().ok();
            let wanted = service.as_ref().map_or(plan::Wanted::Gone, |name| {
                wanted(environment, prepared.get(name), standing.get(name), name)
            });
            let after =
                service.and_then(|name| environment.services.get(&name)).map(|service| &service.after);
            let after = after.into_iter().flatten().filter(|name| environment.services.contains_key(*name));
            let drifted =
                drifted.iter().filter(|key| held.iter().any(|object| object.key == **key)).cloned().collect();
            units.push(Unit {
                wanted,
                live: BTreeMap::new(),
                drifted,
                after: after.map(ToString::to_string).collect(),
                held,
                name,
            });
        }
        let scope = Scope {
            project: environment.project.clone(),
            environment: environment.name.clone(),
            namespace: environment.namespace.clone(),
            preview: environment.preview.is_some(),
        };
        let brake = Self::brake(snapshot, environment);
        let mut plan = plan::plan(&plan::Request {
            scope: &scope,
            units: &units,
            schema: Schema::builtin(),
            brake: &brake,
        })?;
        if self.is_approved(plan.id, snapshot)
            && let Verdict::Held(_) = plan.verdict
        {
            let brake = Brake { approved: Some(plan.id), ..brake };
            plan = plan::plan(&plan::Request {
                scope: &scope,
                units: &units,
                schema: Schema::builtin(),
                brake: &brake,
            })?;
        }
        if !environment.prune {
            for step in plan.units.iter_mut().flat_map(|unit| &mut unit.prune) {
                step.action = plan::Action::Keep;
                "sync.prune is off".clone_into(&mut step.reason);
            }
        }
        Ok(plan)
    }

    fn brake(snapshot: &Snapshot, environment: &Environment) -> Brake {
        let policy = snapshot.config.config.as_ref().and_then(|config| config.spec.policy.as_ref());
        let percent = policy.and_then(|policy| policy.max_delete_percent).unwrap_or(30);
        let incomplete = if environment.absence_is_proven {
            Vec::new()
        } else {
            vec![format!("the folder of the project `{}`: a file in it cannot be read", environment.project)]
        };
        Brake {
            max_delete_percent: u8::try_from(percent).unwrap_or(100),
            incomplete,
            closed: environment.preview.as_ref().map(|_| brake::Closed::TwoListings),
            ..Brake::default()
        }
    }

    /// What an environment has of its own: its namespace.
    pub(super) fn environment_objects(snapshot: &Snapshot, environment: &Environment) -> Vec<Manifest> {
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

    async fn namespace(
        &self,
        handle: &Handle,
        environment: &Environment,
        plan: &Plan,
    ) -> Result<(), ReconcileError> {
        let needed = plan.units.iter().any(|unit| unit.name != ENVIRONMENT_UNIT && !unit.steps.is_empty());
        let unit = plan.unit(ENVIRONMENT_UNIT).filter(|_| needed);
        let Some(unit) = unit else { return Ok(()) };
        let changes = cluster::apply::apply(&handle.set, unit, environment.preview.is_some()).await?;
        match changes.changes.into_iter().find_map(|change| change.error) {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }

    /// The key of what a service builds, its values with the image in them, and its manifests.
    pub(super) async fn prepare(
        &self,
        snapshot: &Snapshot,
        environment: &Environment,
        service: &Arc<Service>,
        templates: &TemplateSet,
    ) -> Prepared {
        let Wanted::Run(run) = &service.state else { unreachable!("only what runs is prepared") };
        let inputs = Hasher::new("input").json(&run.values).text(&service.template);
        let refused = |digest, refusal| Prepared {
            service: Arc::clone(service),
            digest,
            manifests: Err(refusal),
            order: None,
            image: None,
            tag: None,
            before: None,
        };
        let Artifact { image, order, tag } = match self.artifact(snapshot, environment, service, run).await {
            Ok(artifact) => artifact,
            Err(refusal) => {
                let revision = run.revision.as_ref().map(Revision::as_str).unwrap_or_default();
                return refused(inputs.text(revision).finish(), refusal);
            }
        };
        let of_tag = |tag: &ImageRef| inputs.clone().text("tag").text(tag.as_str()).finish();
        let before = tag.as_ref().map(of_tag);
        let Some(image) = image else {
            let digest = before.unwrap_or_else(|| inputs.finish());
            let message = "the digest of its image is not known yet".to_owned();
            return Prepared { tag, before, ..refused(digest, Refusal { step: image::STEP, message }) };
        };
        let mut values = run.values.clone();
        values["image"] = Value::String(image.clone());
        let template = templates.get(&service.template).map(|template| template.id());
        let digest =
            inputs.text(&image).text(&template.map(|id| id.to_string()).unwrap_or_default()).finish();
        let manifests = render::render(templates, &service.template, &values)
            .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>())
            .and_then(|manifests| {
                let rules = rules(snapshot, environment, service)?;
                let violations = policy::check(&manifests, &rules);
                if violations.is_empty() {
                    Ok(manifests)
                } else {
                    Err(violations.iter().map(ToString::to_string).collect())
                }
            })
            .map_err(|errors| Refusal { step: "Render", message: errors.join("\n") });
        Prepared { service: Arc::clone(service), digest, manifests, order, image: Some(image), tag, before }
    }
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
        (Some(Wanted::Run(_)), Some(Prepared { manifests: Ok(manifests), .. })) => {
            plan::Wanted::Objects(manifests.clone())
        }
        // it waits for its image
        (Some(Wanted::Run(_)), Some(Prepared { manifests: Err(refusal), .. })) => as_it_is(&refusal.message),
        (Some(Wanted::Run(_) | Wanted::Unknown(_)), _) => as_it_is("it was not prepared"),
        (Some(Wanted::Waiting), _) => as_it_is("it waits for `branchline deploy`"),
        (Some(Wanted::NotReleased) | None, _) => plan::Wanted::Gone,
    }
}

/// What the policy of the config allows a service.
pub(super) fn rules(
    snapshot: &Snapshot,
    environment: &Environment,
    service: &Service,
) -> Result<policy::Rules, Vec<String>> {
    let policy =
        snapshot.config.config.as_ref().and_then(|config| config.spec.policy.clone()).unwrap_or_default();
    let mut rules = policy::Rules::new(environment.namespace.as_str());
    rules.hosts = service.hosts.iter().cloned().collect();
    rules.require_limits = policy.require_resource_limits.unwrap_or(false);
    let registries = policy.allowed_registries.unwrap_or_default();
    if environment.runtime == Runtime::Cluster && !registries.is_empty() {
        rules.registries = policy::Registries::new(&registries)
            .map_err(|error| vec![format!("policy.allowedRegistries: {error}")])?;
    }
    Ok(rules)
}
