//! What a service runs: what is built from its tree, or an image that others build.

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::last_good::Standing;
use super::prepare::{Prepared, Refusal, rules};
use super::{Reconciler, Snapshot, chain};
use crate::build::{BuildOrder, Recipe};
use crate::desired::{ArtifactSource, BuildRequest, Environment, Run, Runtime, Service};
use crate::name::ImageRef;

/// What a service runs, in the words of its manifests.
pub(super) struct Artifact {
    /// None while the digest of the tag is not known.
    pub(super) image: Option<String>,
    pub(super) order: Option<BuildOrder>,
    pub(super) tag: Option<ImageRef>,
}

impl Reconciler {
    /// What a service runs, as far as Git and what was looked up before tell. `known` is what the very same service was
    /// prepared as before.
    pub(super) async fn artifact(
        &self,
        snapshot: &Snapshot,
        environment: &Environment,
        service: &Service,
        run: &Run,
        known: Option<&Prepared>,
    ) -> Result<Artifact, Refusal> {
        let request = match &run.artifact {
            ArtifactSource::Image(image) => {
                return Ok(self.image_of(snapshot, environment, service, run, image).await);
            }
            ArtifactSource::Tree(request) => request,
        };
        let refuse = |step| move |message| Refusal { step, message };
        let order = self.order(request).map_err(refuse("Git"))?;
        let builder = self.0.parts.builder.as_ref().filter(|_| environment.runtime == Runtime::Process);
        let Some(builder) = builder else {
            let message =
                "this cluster runs images, and building images is not supported yet; hint: name an `image`";
            return Err(Refusal { step: "Build", message: message.to_owned() });
        };
        // the same tree and recipe have the same key
        let same = known.filter(|known| known.order.is_some()).and_then(|known| known.image.clone());
        if same.is_some() {
            return Ok(Artifact { image: same, order: Some(order), tag: None });
        }
        let key = builder.key(&order).await.map_err(|error| chain(&error)).map_err(refuse("Git"))?;
        Ok(Artifact { image: Some(format!("folder:{key}")), order: Some(order), tag: None })
    }

    /// What is built to put a service back as it ran; nothing where the last good state is not all of it.
    pub(super) fn order_of(&self, standing: &Standing) -> Result<Option<BuildOrder>, String> {
        let good = standing.good.as_ref().filter(|_| standing.whole);
        good.and_then(|good| good.build.as_ref()).map(|request| self.order(request)).transpose()
    }

    fn order(&self, request: &BuildRequest) -> Result<BuildOrder, String> {
        let url = self.address(&request.repo).map_err(|error| error.to_string())?;
        // the receiver is dropped: a rollout gives the order a log of its own
        let (log, _) = mpsc::channel(1);
        Ok(BuildOrder {
            mirror: self.mirror_of(&url),
            revision: request.revision.clone(),
            recipe: Recipe {
                command: request.command.clone(),
                args: request.args.clone(),
                ..Recipe::at(&request.path, Some(&request.context))
            },
            log,
            redactor: self.0.parts.redactor.clone(),
            cancel: CancellationToken::new(),
        })
    }

    /// What a service with an image of its own runs: by its digest, where that is named, pinned or known.
    async fn image_of(
        &self,
        snapshot: &Snapshot,
        environment: &Environment,
        service: &Service,
        run: &Run,
        image: &ImageRef,
    ) -> Artifact {
        let by = |image: &ImageRef, tag| Artifact { image: Some(image.to_string()), order: None, tag };
        if image.digest().is_some() {
            return by(image, None);
        }
        if let Some(digest) = run.release.as_ref().and_then(|release| release.digest.as_ref()) {
            return by(&image.at(digest), None);
        }
        let key = Self::state_key(environment, &service.name);
        if let Some(digest) = self.known_digest(&key, image, run.revision.as_ref()).await {
            return by(&image.at(&digest), Some(image.clone()));
        }
        if !may_be_asked_for(snapshot, environment, service, image) {
            return by(image, None);
        }
        Artifact { image: None, order: None, tag: Some(image.clone()) }
    }
}

/// Whether the registry of an image may be asked: one that may not be used is refused in the words of the policy, and
/// its registry never hears of it.
pub(super) fn may_be_asked_for(
    snapshot: &Snapshot,
    environment: &Environment,
    service: &Service,
    image: &ImageRef,
) -> bool {
    rules(snapshot, environment, service).is_ok_and(|rules| rules.registries.allow(image.as_str()))
}
