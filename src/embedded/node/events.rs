//! What happened to a pod, told as Events, one per thing said, counted.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{MANAGER, NODE};
use crate::clock::Clock;

/// More than these at once are not told: events are help, not record.
const PENDING: usize = 256;

/// Tells events without making anybody wait.
#[derive(Clone)]
pub(crate) struct Recorder {
    told: mpsc::Sender<Told>,
}

enum Told {
    Happened { pod: Arc<Pod>, kind: &'static str, reason: String, message: String },
    Gone { uid: String },
}

impl Recorder {
    pub(crate) fn start(client: Client, clock: Clock, tasks: &TaskTracker, stop: &CancellationToken) -> Self {
        let (told, receiver) = mpsc::channel(PENDING);
        let writer = Writer { client, clock, written: Mutex::default() };
        tasks.spawn(stop.clone().run_until_cancelled_owned(writer.run(receiver)));
        Self { told }
    }

    pub(crate) fn normal(&self, pod: &Arc<Pod>, reason: &str, message: &str) {
        self.tell(pod, "Normal", reason, message);
    }

    pub(crate) fn warn(&self, pod: &Arc<Pod>, reason: &str, message: &str) {
        self.tell(pod, "Warning", reason, message);
    }

    /// Takes the events of a pod back once it is gone: nothing else would ever remove them.
    pub(crate) fn forget(&self, uid: &str) {
        // full: they stay until the namespace goes
        let _ = self.told.try_send(Told::Gone { uid: uid.to_owned() });
    }

    fn tell(&self, pod: &Arc<Pod>, kind: &'static str, reason: &str, message: &str) {
        let (reason, message) = (reason.to_owned(), message.to_owned());
        // full: an event is lost, nobody depends on it
        let _ = self.told.try_send(Told::Happened { pod: pod.clone(), kind, reason, message });
    }
}

/// What was said: of which pod (UID), the reason and the message.
type Said = (String, String, String);

/// The event that says it: namespace, name and count.
type Written = (String, String, i32);

struct Writer {
    client: Client,
    clock: Clock,
    written: Mutex<BTreeMap<Said, Written>>,
}

impl Writer {
    async fn run(self, mut told: mpsc::Receiver<Told>) {
        while let Some(told) = told.recv().await {
            let outcome = match told {
                Told::Happened { pod, kind, reason, message } => {
                    self.write(&pod, kind, reason, message).await
                }
                Told::Gone { uid } => self.remove(&uid).await,
            };
            match outcome {
                // the namespace is on its way out, or somebody removed the event
                Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404 | 409) => {}
                Err(error) => tracing::debug!(error = %error, "An event could not be written."),
                Ok(()) => {}
            }
        }
    }

    async fn write(&self, pod: &Pod, kind: &str, reason: String, message: String) -> Result<(), kube::Error> {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let key = (uid, reason.clone(), message.clone());
        let now = Time(self.clock.now());
        let known = {
            let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
            written.get_mut(&key).map(|(namespace, name, count)| {
                *count += 1;
                (namespace.clone(), name.clone(), *count)
            })
        };
        if let Some((namespace, name, count)) = known {
            let api: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
            let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
            let body = json!({"count": count, "lastTimestamp": now});
            return api.patch(&name, &params, &Patch::Merge(&body)).await.map(drop);
        }
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let name = pod.metadata.name.clone().unwrap_or_default();
        let event = Event {
            metadata: ObjectMeta {
                name: Some(format!("{name}.{}", uuid::Uuid::now_v7().simple())),
                namespace: Some(namespace.clone()),
                ..ObjectMeta::default()
            },
            involved_object: ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: Some(name),
                namespace: Some(namespace.clone()),
                uid: pod.metadata.uid.clone(),
                ..ObjectReference::default()
            },
            type_: Some(kind.to_owned()),
            reason: Some(reason),
            message: Some(message),
            source: Some(EventSource { component: Some(MANAGER.to_owned()), host: Some(NODE.to_owned()) }),
            count: Some(1),
            first_timestamp: Some(now.clone()),
            last_timestamp: Some(now),
            reporting_component: Some(MANAGER.to_owned()),
            reporting_instance: Some(NODE.to_owned()),
            ..Event::default()
        };
        let params = PostParams { dry_run: false, field_manager: Some(MANAGER.to_owned()) };
        let api: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        let made = api.create(&params, &event).await?;
        let name = made.metadata.name.unwrap_or_default();
        self.written.lock().unwrap_or_else(PoisonError::into_inner).insert(key, (namespace, name, 1));
        Ok(())
    }

    async fn remove(&self, uid: &str) -> Result<(), kube::Error> {
        let gone: Vec<_> = {
            let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
            let keys: Vec<_> = written.keys().filter(|key| key.0 == uid).cloned().collect();
            keys.into_iter().filter_map(|key| written.remove(&key)).collect()
        };
        for (namespace, name, _) in gone {
            let api: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
            api.delete(&name, &DeleteParams::default()).await?;
        }
        Ok(())
    }
}
