//! The life of one pod on this node: room is made, containers run, the status tells, and it goes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::super::cache::{Cache, uid};
use super::super::controllers::pods::PORTS_ANNOTATION;
use super::container::{Restart, Shared, Stop, Worker};
use super::events::Recorder;
use super::logs::Logs;
use super::runtime::{Place, PodPlan, Runtime};
use super::status::{Part, Slot, State, States, status};
use super::{MANAGER, Seen};
use crate::clock::Clock;

/// The pause between tries of a request that failed.
const RETRY: Duration = Duration::from_millis(200);
/// What a pod is given to end when it was taken out of the API without a word.
const FORCED: Duration = Duration::from_secs(1);
/// What pods are given to end when we stop ourselves.
const FAREWELL: Duration = Duration::from_secs(2);

/// What every pod of the node needs.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) cache: Arc<Cache>,
    pub(crate) clock: Clock,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) logs: Logs,
    pub(crate) events: Recorder,
}

/// Runs a pod until it is gone.
///
/// `seen` is the pod as the API shows it, and what became of it.
pub(crate) async fn run(context: Arc<Context>, pod: Arc<Pod>, seen: watch::Receiver<Seen>) {
    let runner = Runner {
        states: watch::Sender::new(first(&pod)),
        stop: watch::Sender::new(None),
        context,
        pod,
        seen,
    };
    runner.run().await;
}

struct Runner {
    context: Arc<Context>,
    pod: Arc<Pod>,
    seen: watch::Receiver<Seen>,
    states: watch::Sender<States>,
    stop: watch::Sender<Option<Stop>>,
}

/// The states of a pod whose containers have not started.
fn first(pod: &Pod) -> States {
    let spec = pod.spec.clone().unwrap_or_default();
    let init = spec.init_containers.unwrap_or_default();
    let reason = if init.is_empty() { "ContainerCreating" } else { "PodInitializing" };
    let state = |container: &Container| State::new(container, reason);
    States {
        init: init.iter().map(state).collect(),
        main: spec.containers.iter().map(state).collect(),
        failure: None,
    }
}

impl Runner {
    async fn run(mut self) {
        let Some(place) = self.place().await else { return self.leave().await };
        let mut containers = JoinSet::new();
        let shared = self.shared(&place);
        containers.spawn(start_all(shared, self.states.clone(), self.stop.subscribe()));
        let mut changes = self.states.subscribe();
        let deadline = self.deadline();
        let mut written = None;
        loop {
            self.obey();
            written = self.tell(&place, written).await;
            if written.is_none() {
                // not written: tried again soon
                tokio::select! {
                    () = self.context.clock.sleep(RETRY) => {}
                    _ = self.seen.changed() => {}
                }
                if !matches!(*self.seen.borrow(), Seen::Gone) {
                    continue;
                }
                self.obey();
            }
            tokio::select! {
                _ = changes.changed() => {}
                _ = self.seen.changed() => {}
                over = containers.join_next(), if !containers.is_empty() => {
                    if let Some(Err(error)) = over {
                        tracing::error!(pod = self.pod.metadata.name, error = %error, "A container's task failed.");
                    }
                }
                () = sleep_until(&self.context.clock, deadline), if deadline.is_some() && self.stop.borrow().is_none() => {
                    self.give_up();
                }
            }
            let leaving = !matches!(*self.seen.borrow(), Seen::Here(_)) || self.is_leaving();
            if containers.is_empty() && (leaving || self.is_finished()) {
                break;
            }
        }
        self.tell(&place, written).await;
        self.leave().await;
    }

    fn now(&self) -> Timestamp {
        self.context.clock.now()
    }

    /// The pod as the API last showed it.
    fn current(&self) -> Arc<Pod> {
        match &*self.seen.borrow() {
            Seen::Here(pod) => pod.clone(),
            Seen::Gone | Seen::Farewell => self.pod.clone(),
        }
    }

    fn is_leaving(&self) -> bool {
        self.current().metadata.deletion_timestamp.is_some()
    }

    fn is_finished(&self) -> bool {
        matches!(self.states.borrow().phase(false), "Succeeded" | "Failed")
    }

    /// Passes on that the pod is to end, and by when.
    fn obey(&self) {
        let until = match &*self.seen.borrow() {
            Seen::Here(pod) => {
                let Some(asked) = &pod.metadata.deletion_timestamp else { return };
                // the API sets the timestamp to the end of the grace period
                let grace =
                    u64::try_from(pod.metadata.deletion_grace_period_seconds.unwrap_or(30)).unwrap_or(0);
                asked.0.min(self.now() + Duration::from_secs(grace))
            }
            Seen::Gone => self.now() + FORCED,
            Seen::Farewell => self.now() + FAREWELL,
        };
        self.stop.send_if_modified(|stop| {
            let sooner = stop.is_none_or(|stop| until < stop.until);
            if sooner {
                *stop = Some(Stop { until });
            }
            sooner
        });
    }

    /// Makes room for the pod and says in the API where it is; none when it is to end before.
    async fn place(&mut self) -> Option<Place> {
        let plan = plan(&self.pod);
        loop {
            if self.is_leaving() || !matches!(*self.seen.borrow(), Seen::Here(_)) {
                return None;
            }
            match self.context.runtime.place(&plan).await {
                Ok(place) if self.announce(&place).await => return Some(place),
                Ok(_) => self.context.runtime.leave(&plan.uid).await,
                Err(error) => {
                    self.context.events.warn(&self.pod, "FailedCreatePodSandBox", &error.to_string());
                }
            }
            tokio::select! {
                () = self.context.clock.sleep(RETRY) => {}
                _ = self.seen.changed() => {}
            }
        }
    }

    /// Writes the pod's ports where the endpoints are read from.
    async fn announce(&self, place: &Place) -> bool {
        if place.ports.is_empty() {
            return true;
        }
        let ports: BTreeMap<String, u16> =
            place.ports.iter().map(|(port, real)| (port.to_string(), *real)).collect();
        let text = serde_json::to_string(&ports).expect("numbers by number");
        let body =
            json!({"metadata": {"uid": self.pod.metadata.uid, "annotations": {PORTS_ANNOTATION: text}}});
        let (api, name) = self.api();
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        match api.patch(&name, &params, &Patch::Merge(&body)).await {
            Ok(pod) => {
                self.context.cache.of::<Pod>().observe(pod);
                true
            }
            Err(error) => {
                tracing::debug!(pod = name, error = %error, "The ports of a pod could not be written down.");
                false
            }
        }
    }

    fn shared(&self, place: &Place) -> Arc<Shared> {
        Arc::new(Shared {
            client: self.context.client.clone(),
            clock: self.context.clock.clone(),
            runtime: self.context.runtime.clone(),
            logs: self.context.logs.clone(),
            events: self.context.events.clone(),
            pod: self.pod.clone(),
            place: place.clone(),
        })
    }

    /// When a pod that may run only so long has to end.
    fn deadline(&self) -> Option<Timestamp> {
        let seconds = self.pod.spec.as_ref()?.active_deadline_seconds?;
        let started =
            self.pod.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|time| time.0);
        Some(started.unwrap_or(self.now()) + Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
    }

    fn give_up(&self) {
        let (reason, message) =
            ("DeadlineExceeded", "Pod was active on the node longer than the specified deadline");
        self.states.send_modify(|states| states.failure = Some((reason.to_owned(), message.to_owned())));
        let until = self.now() + FORCED;
        self.stop.send_replace(Some(Stop { until }));
    }

    /// Writes the status where it differs from what was written; gives what stands now, none when it failed.
    async fn tell(&self, place: &Place, written: Option<States>) -> Option<States> {
        let states = self.states.borrow().clone();
        if written.as_ref() == Some(&states) || !matches!(*self.seen.borrow(), Seen::Here(_)) {
            return Some(states);
        }
        let pod = self.context.cache.of::<Pod>().get(&super::super::cache::Key::of(&*self.pod));
        let pod = pod.filter(|pod| uid(&**pod) == uid(&*self.pod)).unwrap_or_else(|| self.current());
        let told = status(&pod, Some(place), &states, self.now());
        let body = json!({"metadata": {"uid": self.pod.metadata.uid}, "status": told});
        let (api, name) = self.api();
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        match api.patch_status(&name, &params, &Patch::Merge(&body)).await {
            Ok(pod) => {
                self.context.cache.of::<Pod>().observe(pod);
                Some(states)
            }
            // it has gone; the watch says so in a moment
            Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => Some(states),
            Err(error) => {
                tracing::warn!(pod = name, error = %error, "The status of a pod could not be written.");
                None
            }
        }
    }

    /// Gives the room back and, once the pod is asked to go, takes it out of the API.
    async fn leave(mut self) {
        self.context.runtime.leave(&uid(&*self.pod)).await;
        loop {
            if !matches!(*self.seen.borrow(), Seen::Here(_)) {
                break;
            }
            if self.is_leaving() && self.remove().await {
                break;
            }
            tokio::select! {
                () = self.context.clock.sleep(RETRY), if self.is_leaving() => {}
                changed = self.seen.changed() => if changed.is_err() { break },
            }
        }
        self.context.events.forget(&uid(&*self.pod));
        let meta = &self.pod.metadata;
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        self.context.logs.forget(&text(&meta.namespace), &text(&meta.name), &uid(&*self.pod));
    }

    /// Says that nothing of the pod is left; true when that is heard.
    async fn remove(&self) -> bool {
        let (api, name) = self.api();
        let preconditions = Preconditions { uid: self.pod.metadata.uid.clone(), resource_version: None };
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        match api.delete(&name, &params).await {
            Ok(_) => true,
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => true,
            Err(error) => {
                tracing::warn!(pod = name, error = %error, "A pod that has ended could not be removed.");
                false
            }
        }
    }

    fn api(&self) -> (Api<Pod>, String) {
        let namespace = self.pod.metadata.namespace.as_deref().unwrap_or_default();
        let name = self.pod.metadata.name.clone().unwrap_or_default();
        (Api::namespaced(self.context.client.clone(), namespace), name)
    }
}

/// What the runtime has to know.
fn plan(pod: &Pod) -> PodPlan {
    let spec = pod.spec.clone().unwrap_or_default();
    let all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let ports = all.map(|container| {
        let ports =
            container.ports.iter().flatten().filter_map(|port| u16::try_from(port.container_port).ok());
        (container.name.clone(), ports.collect())
    });
    PodPlan { uid: uid(pod), ports: ports.collect() }
}

/// Starts the init containers one after the other, then all others, and waits until every one is over.
async fn start_all(shared: Arc<Shared>, states: watch::Sender<States>, stop: watch::Receiver<Option<Stop>>) {
    let spec = shared.pod.spec.clone().unwrap_or_default();
    let policy = Restart::of(spec.restart_policy.as_deref());
    let mut running = JoinSet::new();
    let init = spec.init_containers.unwrap_or_default();
    let worker = |spec: Container, restart: Restart, part: Part, index: usize| Worker {
        shared: shared.clone(),
        spec,
        restart,
        stop: stop.clone(),
        state: Slot::new(states.clone(), part, index),
    };
    for (index, container) in init.into_iter().enumerate() {
        if container.restart_policy.as_deref() == Some("Always") {
            // a sidecar: it goes on running beside the others
            running.spawn(worker(container, Restart::Always, Part::Init, index).run());
            let up = |states: &States| states.init[index].started || states.init[index].over;
            // the sender lives in this function, so waiting cannot fail
            let _ = states.subscribe().wait_for(up).await;
            continue;
        }
        let restart = if policy == Restart::Never { Restart::Never } else { Restart::OnFailure };
        worker(container, restart, Part::Init, index).run().await;
        if !states.borrow().init[index].succeeded() {
            // those that wait for it will never run
            states.send_modify(|states| states.main.iter_mut().for_each(|state| state.over = true));
            running.join_all().await;
            return;
        }
    }
    for (index, container) in spec.containers.into_iter().enumerate() {
        running.spawn(worker(container, policy, Part::Main, index).run());
    }
    while let Some(over) = running.join_next().await {
        if let Err(error) = over {
            tracing::error!(pod = shared.pod.metadata.name, error = %error, "A container's task failed.");
        }
    }
}

async fn sleep_until(clock: &Clock, time: Option<Timestamp>) {
    if let Some(time) = time {
        clock.sleep(Duration::try_from(time.duration_since(clock.now())).unwrap_or(Duration::ZERO)).await;
    }
}
