//! What the status of a pod says, from the state of its containers.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use tokio::sync::watch;

use super::runtime::Place;

/// The state of one container.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct State {
    pub(crate) name: String,
    pub(crate) image: String,
    pub(crate) image_id: String,
    /// The current or last run, with its scheme; empty before the first.
    pub(crate) id: String,
    pub(crate) now: Now,
    /// The run before the current one.
    pub(crate) last: Option<Ended>,
    pub(crate) restarts: i32,
    pub(crate) ready: bool,
    pub(crate) started: bool,
    /// Whether nothing more happens to it.
    pub(crate) over: bool,
}

/// What a container does now.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Now {
    Waiting { reason: String, message: String },
    Running { since: Timestamp },
    Ended(Ended),
}

/// How a run of a container ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ended {
    pub(crate) id: String,
    pub(crate) code: i32,
    pub(crate) reason: String,
    pub(crate) message: Option<String>,
    pub(crate) started: Timestamp,
    pub(crate) finished: Timestamp,
}

impl State {
    /// A container that has not started yet.
    pub(crate) fn new(container: &Container, reason: &str) -> Self {
        Self {
            name: container.name.clone(),
            image: container.image.clone().unwrap_or_default(),
            image_id: String::new(),
            id: String::new(),
            now: Now::Waiting { reason: reason.to_owned(), message: String::new() },
            last: None,
            restarts: 0,
            ready: false,
            started: false,
            over: false,
        }
    }

    /// Whether it has ended for good, and well.
    pub(crate) fn succeeded(&self) -> bool {
        self.over && matches!(&self.now, Now::Ended(ended) if ended.code == 0)
    }

    fn status(&self) -> ContainerStatus {
        ContainerStatus {
            name: self.name.clone(),
            image: self.image.clone(),
            image_id: self.image_id.clone(),
            container_id: (!self.id.is_empty()).then(|| self.id.clone()),
            ready: self.ready,
            started: Some(self.started),
            restart_count: self.restarts,
            state: Some(self.now.state()),
            last_state: Some(self.last.as_ref().map(Ended::state).unwrap_or_default()),
            ..ContainerStatus::default()
        }
    }
}

impl Now {
    fn state(&self) -> ContainerState {
        match self {
            Self::Waiting { reason, message } => ContainerState {
                waiting: Some(ContainerStateWaiting {
                    reason: Some(reason.clone()),
                    message: (!message.is_empty()).then(|| message.clone()),
                }),
                ..ContainerState::default()
            },
            Self::Running { since } => ContainerState {
                running: Some(ContainerStateRunning { started_at: Some(Time(*since)) }),
                ..ContainerState::default()
            },
            Self::Ended(ended) => ended.state(),
        }
    }
}

impl Ended {
    fn state(&self) -> ContainerState {
        ContainerState {
            terminated: Some(ContainerStateTerminated {
                container_id: Some(self.id.clone()),
                exit_code: self.code,
                reason: Some(self.reason.clone()),
                message: self.message.clone(),
                signal: None,
                started_at: Some(Time(self.started)),
                finished_at: Some(Time(self.finished)),
            }),
            ..ContainerState::default()
        }
    }
}

/// The containers of a pod.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct States {
    pub(crate) init: Vec<State>,
    pub(crate) main: Vec<State>,
    /// Why the pod as a whole has failed, where that is not its containers' doing: reason and message.
    pub(crate) failure: Option<(String, String)>,
}

impl States {
    /// The phase of the pod.
    pub(crate) fn phase(&self, leaving: bool) -> &'static str {
        let over = self.main.iter().all(|state| state.over);
        let init_failed = self.init.iter().any(|state| state.over && !state.succeeded());
        if self.failure.is_some() || init_failed {
            return "Failed";
        }
        let never_ran = self.main.iter().any(|state| state.id.is_empty() && !state.over);
        if over && !self.main.is_empty() {
            let well = self.main.iter().all(State::succeeded);
            return if well { "Succeeded" } else { "Failed" };
        }
        if never_ran && !leaving { "Pending" } else { "Running" }
    }

    /// Whether everything that may come before the main containers has come.
    fn initialized(&self) -> bool {
        self.init.iter().all(|state| state.succeeded() || (state.started && !state.over))
    }
}

/// Which of a pod's containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Those that come before the others.
    Init,
    /// The others.
    Main,
}

/// The place of one container's state among those of its pod.
#[derive(Debug)]
pub(crate) struct Slot {
    states: watch::Sender<States>,
    part: Part,
    index: usize,
}

impl Slot {
    pub(crate) fn new(states: watch::Sender<States>, part: Part, index: usize) -> Self {
        Self { states, part, index }
    }

    /// Changes the state, and wakes whoever tells it when it is another one.
    pub(crate) fn change(&self, change: impl FnOnce(&mut State)) {
        self.states.send_if_modified(|states| {
            let list = match self.part {
                Part::Init => &mut states.init,
                Part::Main => &mut states.main,
            };
            let before = list[self.index].clone();
            change(&mut list[self.index]);
            list[self.index] != before
        });
    }
}

/// The status of a pod on this node.
pub(crate) fn status(pod: &Pod, place: Option<&Place>, states: &States, now: Timestamp) -> PodStatus {
    let old = pod.status.clone().unwrap_or_default();
    let phase = states.phase(pod.metadata.deletion_timestamp.is_some());
    let address = place.map(|place| place.address.to_string());
    let statuses = |states: &[State]| states.iter().map(State::status).collect::<Vec<_>>();
    PodStatus {
        conditions: Some(conditions(pod, &old, place.is_some(), states, phase, now)),
        container_statuses: Some(statuses(&states.main)),
        init_container_statuses: (!states.init.is_empty()).then(|| statuses(&states.init)),
        host_ip: Some("127.0.0.1".to_owned()),
        host_ips: Some(vec![HostIP { ip: "127.0.0.1".to_owned() }]),
        message: states.failure.as_ref().map(|(_, message)| message.clone()),
        reason: states.failure.as_ref().map(|(reason, _)| reason.clone()),
        observed_generation: pod.metadata.generation,
        phase: Some(phase.to_owned()),
        pod_ip: address.clone(),
        pod_ips: address.map(|ip| vec![PodIP { ip }]),
        qos_class: old.qos_class.clone(),
        start_time: old.start_time.clone().or(Some(Time(now))),
        ..PodStatus::default()
    }
}

fn conditions(
    pod: &Pod,
    old: &PodStatus,
    placed: bool,
    states: &States,
    phase: &str,
    now: Timestamp,
) -> Vec<PodCondition> {
    let unready: Vec<&str> =
        states.main.iter().filter(|state| !state.ready).map(|state| state.name.as_str()).collect();
    let gates = pod.spec.as_ref().and_then(|spec| spec.readiness_gates.as_deref()).unwrap_or_default();
    let held = |kind: &str| old.conditions.iter().flatten().find(|held| held.type_ == kind);
    let gates_open = gates
        .iter()
        .all(|gate| held(&gate.condition_type).is_some_and(|condition| condition.status == "True"));
    let finished = phase == "Succeeded" || phase == "Failed";
    let not_ready = |phase: &str| match phase {
        "Succeeded" => ("PodCompleted", String::new()),
        "Failed" => ("PodFailed", String::new()),
        _ => ("ContainersNotReady", format!("containers with unready status: [{}]", unready.join(" "))),
    };
    let containers_ready = unready.is_empty() && !finished;
    let waiting: Vec<&str> =
        states.init.iter().filter(|state| !state.succeeded()).map(|state| state.name.as_str()).collect();
    let initialized = if states.initialized() {
        (true, if phase == "Succeeded" { "PodCompleted" } else { "" }, String::new())
    } else {
        (
            false,
            "ContainersNotInitialized",
            format!("containers with incomplete status: [{}]", waiting.join(" ")),
        )
    };
    let (reason, message) = not_ready(phase);
    let ready = if containers_ready && !gates_open {
        (false, "ReadinessGatesNotReady", "the conditions of the readiness gates are not met".to_owned())
    } else if containers_ready {
        (true, "", String::new())
    } else {
        (false, reason, message.clone())
    };
    let containers = if containers_ready { (true, "", String::new()) } else { (false, reason, message) };
    let plain = |holds: bool| (holds, "", String::new());
    let all = [
        ("PodReadyToStartContainers", plain(placed && !finished)),
        ("Initialized", initialized),
        ("Ready", ready),
        ("ContainersReady", containers),
        ("PodScheduled", plain(true)),
    ];
    let condition = |(kind, (holds, reason, message)): (&str, (bool, &str, String))| {
        let word = if holds { "True" } else { "False" };
        let since =
            held(kind).filter(|held| held.status == word).and_then(|held| held.last_transition_time.clone());
        PodCondition {
            type_: kind.to_owned(),
            status: word.to_owned(),
            reason: (!reason.is_empty()).then(|| reason.to_owned()),
            message: (!message.is_empty()).then_some(message),
            last_transition_time: Some(since.unwrap_or(Time(now))),
            last_probe_time: None,
            observed_generation: None,
        }
    };
    let ours: Vec<_> = all.into_iter().map(condition).collect();
    let others =
        old.conditions.iter().flatten().filter(|held| !ours.iter().any(|own| own.type_ == held.type_));
    let others: Vec<_> = others.cloned().collect();
    ours.into_iter().chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(name: &str, now: Now, over: bool) -> State {
        let container = Container { name: name.to_owned(), ..Container::default() };
        let running = matches!(now, Now::Running { .. });
        let id = if matches!(now, Now::Waiting { .. }) { String::new() } else { "process://1".to_owned() };
        State {
            now,
            over,
            id,
            ready: running,
            started: running,
            ..State::new(&container, "ContainerCreating")
        }
    }

    fn ended(code: i32) -> Now {
        let (started, finished) = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH);
        Now::Ended(Ended { id: String::new(), code, reason: String::new(), message: None, started, finished })
    }

    fn summary(states: &States) -> String {
        let told = status(&Pod::default(), None, states, Timestamp::UNIX_EPOCH);
        let ready =
            told.conditions.unwrap().into_iter().find(|condition| condition.type_ == "Ready").unwrap();
        format!("{} {} {}", told.phase.unwrap(), ready.status, ready.reason.unwrap_or_default())
    }

    #[test]
    fn the_phase_is_that_of_all_containers_together() {
        let waiting = || Now::Waiting { reason: "ContainerCreating".to_owned(), message: String::new() };
        let running = || Now::Running { since: Timestamp::UNIX_EPOCH };
        let of = |main: Vec<State>| summary(&States { main, ..States::default() });
        assert_eq!(of(vec![state("a", waiting(), false)]), "Pending False ContainersNotReady");
        assert_eq!(of(vec![state("a", running(), false)]), "Running True ");
        assert_eq!(
            of(vec![state("a", running(), false), state("b", ended(1), false)]),
            "Running False ContainersNotReady"
        );
        assert_eq!(of(vec![state("a", ended(0), true)]), "Succeeded False PodCompleted");
        assert_eq!(
            of(vec![state("a", ended(0), true), state("b", ended(3), true)]),
            "Failed False PodFailed"
        );
    }
}
