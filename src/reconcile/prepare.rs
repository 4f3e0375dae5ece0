//! What a service should consist of: the key of what it builds, its values with the image in them, and its manifests.
//!
//! A service of which nothing changed is not rendered again: what the attempt before made of it is taken.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::artifact::Artifact;
use super::{Reconciler, Snapshot, image};
use crate::build::BuildOrder;
use crate::config::Document;
use crate::config::root::ConfigSpec;
use crate::desired::{Environment, Run, Runtime, Service};
use crate::hash::{ContentHash, Hasher};
use crate::name::{ImageRef, Revision, ServiceName};
use crate::render::{Manifest, TemplateSet, policy};
use crate::store::Deployment;
use serde_json::Value;

/// The services of an environment that something runs of.
pub(super) type Ready = BTreeMap<ServiceName, Arc<Prepared>>;

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
    /// The template that it was rendered with.
    template: Option<ContentHash>,
}

impl Prepared {
    /// The tag whose digest is not known yet.
    pub(super) fn awaits(&self) -> Option<&ImageRef> {
        self.tag.as_ref().filter(|_| self.image.is_none())
    }

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

/// Why a service cannot be rendered. The author mends it.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) step: &'static str,
    pub(super) message: String,
}

/// What the services of an environment were prepared as the last time. It saves work and decides nothing.
#[derive(Default)]
pub(super) struct Memory(Mutex<Option<Known>>);

/// The services of an environment, and what all of them were prepared under.
struct Known {
    config: Option<Arc<Document<ConfigSpec>>>,
    runtime: Runtime,
    services: Arc<Ready>,
}

impl Memory {
    /// What is known, where it was prepared under the same policy and for the same runtime.
    fn of(&self, snapshot: &Snapshot, environment: &Environment) -> Option<Arc<Ready>> {
        let memory = self.0.lock().expect("no holder of this lock panics");
        let known = memory.as_ref().filter(|known| known.runtime == environment.runtime)?;
        (known.config == snapshot.config.config).then(|| Arc::clone(&known.services))
    }

    fn keep(&self, snapshot: &Snapshot, environment: &Environment, services: &Arc<Ready>) {
        let (config, services) = (snapshot.config.config.clone(), Arc::clone(services));
        let known = Known { config, runtime: environment.runtime, services };
        *self.0.lock().expect("no holder of this lock panics") = Some(known);
    }
}

impl Reconciler {
    /// Everything that runs in an environment, prepared.
    pub(super) async fn prepare_all(
        &self,
        snapshot: &Snapshot,
        environment: &Environment,
        memory: &Memory,
    ) -> Arc<Ready> {
        let templates = snapshot.templates.as_deref().unwrap_or_else(|| TemplateSet::builtin());
        let known = memory.of(snapshot, environment).unwrap_or_default();
        let mut services = Ready::new();
        for service in environment.services.values() {
            if let Some(run) = service.run() {
                let known = known.get(&service.name).filter(|known| Arc::ptr_eq(&known.service, service));
                let ready = self.prepare(snapshot, environment, service, run, templates, known).await;
                services.insert(service.name.clone(), ready);
            }
        }
        let services = Arc::new(services);
        memory.keep(snapshot, environment, &services);
        services
    }

    /// The key of what a service builds, its values with the image in them, and its manifests. `known` is what the very
    /// same service was prepared as before.
    async fn prepare(
        &self,
        snapshot: &Snapshot,
        environment: &Environment,
        service: &Arc<Service>,
        run: &Run,
        templates: &TemplateSet,
        known: Option<&Arc<Prepared>>,
    ) -> Arc<Prepared> {
        let template = templates.get(&service.template).ok().map(|template| template.id());
        let artifact = self.artifact(snapshot, environment, service, run, known.map(|known| &**known)).await;
        if let (Some(known), Ok(artifact)) = (known, &artifact)
            && (artifact.image.is_some() && template.is_some())
            && (&known.image, &known.tag, known.template) == (&artifact.image, &artifact.tag, template)
        {
            return Arc::clone(known);
        }
        let inputs = Hasher::new("input").json(&run.values).text(&service.template);
        let refused = |digest, refusal| Prepared {
            service: Arc::clone(service),
            digest,
            manifests: Err(refusal),
            order: None,
            image: None,
            tag: None,
            before: None,
            template,
        };
        let Artifact { image, order, tag } = match artifact {
            Ok(artifact) => artifact,
            Err(refusal) => {
                let revision = run.revision.as_ref().map(Revision::as_str).unwrap_or_default();
                return Arc::new(refused(inputs.text(revision).finish(), refusal));
            }
        };
        let of_tag = |tag: &ImageRef| inputs.clone().text("tag").text(tag.as_str()).finish();
        let before = tag.as_ref().map(of_tag);
        let Some(image) = image else {
            let digest = before.unwrap_or_else(|| inputs.finish());
            let message = "the digest of its image is not known yet".to_owned();
            let refusal = Refusal { step: image::STEP, message };
            return Arc::new(Prepared { tag, before, ..refused(digest, refusal) });
        };
        let digest =
            inputs.text(&image).text(&template.map(|id| id.to_string()).unwrap_or_default()).finish();
        let manifests = self.manifests(snapshot, environment, service, run, templates, &image);
        let digest = match &manifests {
            Ok(_) => digest,
            // the same input is not refused once the policy is another one
            Err(refusal) => Hasher::new("refused").part(digest.bytes()).text(&refusal.message).finish(),
        };
        let (service, image) = (Arc::clone(service), Some(image));
        Arc::new(Prepared { service, digest, manifests, order, image, tag, before, template })
    }

    /// What a service consists of, as its template makes it and the policy allows it. What a service goes back to was
    /// rendered before.
    fn manifests(
        &self,
        snapshot: &Snapshot,
        environment: &Environment,
        service: &Service,
        run: &Run,
        templates: &TemplateSet,
        image: &str,
    ) -> Result<Vec<Manifest>, Refusal> {
        let mut values = run.values.clone();
        values["image"] = Value::from(image);
        let refusal = |errors: Vec<String>| Refusal { step: "Render", message: errors.join("\n") };
        let rendered = self.0.rendered.render(templates, &service.template, &values);
        let manifests =
            rendered.map_err(|errors| refusal(errors.iter().map(ToString::to_string).collect()))?;
        let rules = rules(snapshot, environment, service).map_err(refusal)?;
        let violations = policy::check(&manifests, &rules);
        if violations.is_empty() {
            Ok(manifests.to_vec())
        } else {
            Err(refusal(violations.iter().map(ToString::to_string).collect()))
        }
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
