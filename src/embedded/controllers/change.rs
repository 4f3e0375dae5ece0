//! The writes a controller decides on, and doing them.
//!
//! A decision is a list of [`Write`]s; it makes no request itself, so that it can be tested without a server.
//! Every write names what it was decided upon (UID, and the resource version where it matters), and the
//! server's answer goes into the cache before the next decision.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Endpoints, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Client;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy};
use serde_json::{Value, json};

use super::super::cache::{Cache, Key, Kind, uid};

/// One write to one object of kind `K`.
#[derive(Debug, Clone)]
pub(crate) enum Change<K> {
    /// A new object.
    Create(Box<K>),
    /// A merge patch (RFC 7386) of the object or of its status.
    Merge { key: Key, part: Part, body: Value },
    /// A deletion, only of that very object.
    Delete { key: Key, uid: String, policy: PropagationPolicy },
}

/// The part of an object that a patch writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Everything but the status.
    Object,
    /// The status.
    Status,
    /// The number of replicas, by the scale subresource.
    Scale,
}

impl<K: Kind> Change<K> {
    /// A patch of `object`; the server refuses it when the object has changed since it was read.
    pub(crate) fn merge(object: &K, part: Part, mut body: Value) -> Self {
        let meta = object.meta();
        if !body["metadata"].is_object() {
            body["metadata"] = json!({});
        }
        body["metadata"]["uid"] = json!(meta.uid);
        body["metadata"]["resourceVersion"] = json!(meta.resource_version);
        Self::Merge { key: Key::of(object), part, body }
    }

    /// A deletion of `object` whose dependents are collected afterwards.
    pub(crate) fn delete(object: &K) -> Self {
        Self::Delete { key: Key::of(object), uid: uid(object), policy: PropagationPolicy::Background }
    }

    async fn perform(self, client: &Client, cache: &Cache, manager: &str) -> Result<(), kube::Error> {
        let store = cache.of::<K>();
        match self {
            Self::Create(object) => {
                let namespace = object.meta().namespace.clone().unwrap_or_default();
                let params = PostParams { dry_run: false, field_manager: Some(manager.to_owned()) };
                store.observe(K::api(client.clone(), &namespace).create(&params, &object).await?);
            }
            Self::Merge { key, part, body } => {
                let api = K::api(client.clone(), &key.namespace);
                let params =
                    PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() };
                let patch = Patch::Merge(&body);
                match part {
                    Part::Object => store.observe(api.patch(&key.name, &params, &patch).await?),
                    Part::Status => store.observe(api.patch_status(&key.name, &params, &patch).await?),
                    // the answer is the scale alone; the object comes by the watch
                    Part::Scale => drop(api.patch_scale(&key.name, &params, &patch).await?),
                }
            }
            Self::Delete { key, uid, policy } => {
                let preconditions = Preconditions { uid: Some(uid.clone()), resource_version: None };
                let params = DeleteParams {
                    propagation_policy: Some(policy),
                    preconditions: Some(preconditions),
                    ..DeleteParams::default()
                };
                match K::api(client.clone(), &key.namespace).delete(&key.name, &params).await {
                    Ok(answer) => match answer.left() {
                        Some(object) => store.observe(object),
                        None => store.forget(&key, &uid),
                    },
                    Err(kube::Error::Api(status)) if status.code == 404 => store.forget(&key, &uid),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}

macro_rules! writes {
    ($($kind:ident,)*) => {
        /// One write to an object of any kind that the controllers write.
        #[derive(Debug, Clone)]
        pub(crate) enum Write {
            $($kind(Change<$kind>),)*
        }

        $(impl From<Change<$kind>> for Write {
            fn from(change: Change<$kind>) -> Self {
                Self::$kind(change)
            }
        })*

        impl Write {
            /// Performs the write and shows the answer to the cache.
            pub(crate) async fn perform(
                self, client: &Client, cache: &Arc<Cache>, manager: &str,
            ) -> Result<(), kube::Error> {
                match self {
                    $(Self::$kind(change) => change.perform(client, cache, manager).await,)*
                }
            }
        }
    };
}

writes! { Deployment, ReplicaSet, Pod, Job, CronJob, Endpoints, EndpointSlice, PodDisruptionBudget, HorizontalPodAutoscaler, }
