//! The life of one container: start, probe, restart with growing pauses, stop.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container as Spec, LifecycleHandler, Pod, Probe};
use kube::Client;
use tokio::sync::watch;

use super::environment::{Environment, Sources, environment, expand};
use super::events::Recorder;
use super::logs::{Log, Logs};
use super::probe::{self, Question, Target, ask};
use super::runtime::{Container, Launch, Place, Runtime, Signal};
use super::status::{Ended, Now, Slot, State};
use crate::clock::Clock;

/// The kubelet's pauses between restarts: none, then ten seconds, doubled up to five minutes, forgotten after ten
/// minutes of running.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_mins(5);
const FORGIVEN: Duration = Duration::from_mins(10);
/// How often a start is tried again that failed for want of something.
const RETRY: Duration = Duration::from_secs(2);
/// What a process is given after SIGTERM even when its hook took all the time there was.
const LEAST_GRACE: Duration = Duration::from_secs(2);
/// The exit code of a container that never ran, as the kubelet gives it.
const NEVER_RAN: i32 = 137;

/// Whether a container is started again after it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Restart {
    Always,
    OnFailure,
    Never,
}

impl Restart {
    pub(crate) fn of(word: Option<&str>) -> Self {
        match word {
            Some("Never") => Self::Never,
            Some("OnFailure") => Self::OnFailure,
            _ => Self::Always,
        }
    }

    fn again(self, code: i32) -> bool {
        self == Self::Always || (self == Self::OnFailure && code != 0)
    }
}

/// An order to stop, with the time that is left for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stop {
    pub(crate) until: Timestamp,
}

/// What all containers of a pod share.
pub(crate) struct Shared {
    pub(crate) client: Client,
    pub(crate) clock: Clock,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) logs: Logs,
    pub(crate) events: Recorder,
    pub(crate) pod: Arc<Pod>,
    pub(crate) place: Place,
}

impl Shared {
    fn meta(&self, field: fn(&Pod) -> Option<&String>) -> &str {
        field(&self.pod).map(String::as_str).unwrap_or_default()
    }

    fn namespace(&self) -> &str {
        self.meta(|pod| pod.metadata.namespace.as_ref())
    }

    fn name(&self) -> &str {
        self.meta(|pod| pod.metadata.name.as_ref())
    }

    fn uid(&self) -> &str {
        self.meta(|pod| pod.metadata.uid.as_ref())
    }
}

/// One container of a pod and its state, told to whoever watches.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) spec: Spec,
    pub(crate) restart: Restart,
    pub(crate) stop: watch::Receiver<Option<Stop>>,
    pub(crate) state: Slot,
}

/// How a run came to its end.
enum Outcome {
    /// By itself.
    Ended(i32),
    /// A probe gave it up.
    Unhealthy(i32),
    /// It was told to.
    Stopped(i32),
}

/// A run that has started.
struct Run {
    container: Arc<dyn Container>,
    log: Arc<Log>,
    id: String,
    since: Timestamp,
}

impl Worker {
    /// Runs the container until it is over.
    pub(crate) async fn run(mut self) {
        let mut pause = Duration::ZERO;
        loop {
            let Some(run) = self.start().await else {
                self.never_ran();
                return;
            };
            let outcome = self.live(&run).await;
            let (code, stopped) = match outcome {
                Outcome::Ended(code) | Outcome::Unhealthy(code) => (code, false),
                Outcome::Stopped(code) => (code, true),
            };
            let unhealthy = matches!(outcome, Outcome::Unhealthy(_));
            let ended = self.ended(&run, code);
            let again =
                !stopped && (self.restart.again(code) || (unhealthy && self.restart != Restart::Never));
            if !again {
                self.change(|state| {
                    (state.now, state.ready, state.started, state.over) =
                        (Now::Ended(ended.clone()), false, false, true);
                });
                return;
            }
            if ran_for(&ended) >= FORGIVEN {
                pause = Duration::ZERO;
            }
            if !self.pause(&ended, pause).await {
                self.change(|state| (state.now, state.over) = (Now::Ended(ended.clone()), true));
                return;
            }
            pause = if pause.is_zero() { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
            self.change(|state| {
                state.last = Some(ended.clone());
                state.restarts += 1;
            });
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        self.state.change(change);
    }

    fn wait_for(&self, reason: &str, message: &str) {
        let now = Now::Waiting { reason: reason.to_owned(), message: message.to_owned() };
        self.change(|state| (state.now, state.ready, state.started) = (now.clone(), false, false));
    }

    fn never_ran(&self) {
        let now = self.shared.clock.now();
        self.change(|state| {
            let ended = Ended {
                id: String::new(),
                code: NEVER_RAN,
                reason: "ContainerStatusUnknown".to_owned(),
                message: Some("The container was stopped before it ran".to_owned()),
                started: now,
                finished: now,
            };
            (state.now, state.ready, state.over) = (Now::Ended(ended), false, true);
        });
    }

    /// Starts the container as soon as that is possible; none when it is told to stop before.
    async fn start(&mut self) -> Option<Run> {
        loop {
            if self.stop.borrow().is_some() {
                return None;
            }
            let (reason, message, pause) = match self.try_start().await {
                Ok(run) => return Some(run),
                Err(failure) => failure,
            };
            self.wait_for(reason, &message);
            self.shared.events.warn(&self.shared.pod, "Failed", &format!("Error: {message}"));
            tokio::select! {
                () = self.shared.clock.sleep(pause) => {}
                _ = self.stop.wait_for(Option::is_some) => return None,
            }
        }
    }

    async fn try_start(&self) -> Result<Run, (&'static str, String, Duration)> {
        let (shared, spec) = (&self.shared, &self.spec);
        let image = spec.image.clone().unwrap_or_default();
        let found = shared.runtime.image(&image);
        let image_id = found.map_err(|error| ("ErrImagePull", error.to_string(), FIRST_PAUSE))?;
        let config = |error: &dyn std::error::Error| ("CreateContainerConfigError", error.to_string(), RETRY);
        let sources =
            Sources::read(&shared.client, shared.namespace(), spec).await.map_err(|error| config(&error))?;
        let port = shared.place.port.get(&spec.name).copied();
        let env = environment(spec, &shared.pod, &sources, port).map_err(|error| config(&error))?;
        let log = shared.logs.begin(shared.namespace(), shared.name(), shared.uid(), &spec.name);
        let launch = Launch {
            pod: shared.uid().to_owned(),
            container: spec.name.clone(),
            image,
            command: command(spec, &env),
            working_dir: spec.working_dir.clone(),
            env,
            log: log.clone(),
        };
        let started = shared.runtime.start(launch).await;
        let container: Arc<dyn Container> = match started {
            Ok(container) => container.into(),
            Err(error) => {
                log.close();
                let cause =
                    std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
                return Err(("CreateContainerError", format!("{error}{cause}"), FIRST_PAUSE));
            }
        };
        let (id, since) = (format!("{}://{}", shared.runtime.name(), container.id()), shared.clock.now());
        let unprobed = spec.startup_probe.is_none();
        let ready = unprobed && spec.readiness_probe.is_none();
        self.change(|state| {
            state.id.clone_from(&id);
            state.image_id.clone_from(&image_id);
            (state.now, state.started, state.ready) = (Now::Running { since }, unprobed, ready);
        });
        Ok(Run { container, log, id, since })
    }

    /// Watches over a run until it ends, by itself or by us.
    async fn live(&mut self, run: &Run) -> Outcome {
        let target = Target {
            place: self.shared.place.clone(),
            ports: self.spec.ports.clone().unwrap_or_default(),
            container: run.container.clone(),
        };
        let mut stop = self.stop.clone();
        let unhealthy = {
            let mut ended = run.container.ended();
            let watched = self.probe(&target);
            tokio::select! {
                code = &mut ended => return Outcome::Ended(code),
                _ = stop.wait_for(Option::is_some) => None,
                (question, message) = watched => Some((question, message)),
            }
        };
        let Some((question, message)) = unhealthy else {
            let until = stop.borrow().map_or_else(|| self.shared.clock.now(), |stop| stop.until);
            return Outcome::Stopped(self.end(run, &target, until).await);
        };
        let word = question.word();
        let text =
            format!("Container {} failed {} probe, will be restarted", self.spec.name, word.to_lowercase());
        tracing::debug!(container = self.spec.name, probe = word, message, "A container is given up.");
        self.shared.events.normal(&self.shared.pod, "Killing", &text);
        let grace = self.grace(question);
        let code = self.end(run, &target, self.shared.clock.now() + grace).await;
        if stop.borrow().is_some() { Outcome::Stopped(code) } else { Outcome::Unhealthy(code) }
    }

    /// Asks all probes of the container; comes back when one gives it up.
    async fn probe(&self, target: &Target) -> (Question, String) {
        if let Some(hook) = self.spec.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.as_ref())
            && let Err(message) = self.hook(hook, target, LONGEST_PAUSE).await
        {
            return (Question::Alive, message);
        }
        if let Some(probe) = &self.spec.startup_probe {
            if let Some(given_up) = self.started(probe, target).await {
                return given_up;
            }
            let ready = self.spec.readiness_probe.is_none();
            self.change(|state| (state.started, state.ready) = (true, ready));
        }
        let probes =
            [(Question::Ready, &self.spec.readiness_probe), (Question::Alive, &self.spec.liveness_probe)];
        let (given_up, mut failed) = tokio::sync::mpsc::channel(1);
        let asked = probes.into_iter().filter_map(|(question, probe)| Some((question, probe.as_ref()?))).map(
            |(question, probe)| {
                ask(question, probe, target, &self.shared.clock, |question, answer| {
                    self.answered(question, &answer);
                    if let (Question::Alive, Err(message)) = (question, answer) {
                        // one verdict is enough
                        let _ = given_up.try_send((question, message));
                    }
                })
            },
        );
        let asked = futures::future::join_all(asked).then(|_| std::future::pending());
        tokio::select! {
            Some(failure) = failed.recv() => failure,
            never = asked => never,
        }
    }

    /// Waits for the startup probe; some when the container did not come up.
    async fn started(&self, probe: &Probe, target: &Target) -> Option<(Question, String)> {
        let (verdict, mut told) = tokio::sync::mpsc::channel(1);
        let asked = ask(Question::Started, probe, target, &self.shared.clock, |question, answer| {
            self.answered(question, &answer);
            // one verdict is enough
            let _ = verdict.try_send(answer);
        });
        tokio::select! {
            () = asked => None,
            answer = told.recv() => answer.and_then(Result::err).map(|message| (Question::Started, message)),
        }
    }

    fn answered(&self, question: Question, answer: &Result<(), String>) {
        if let Err(message) = answer {
            let text = format!("{} probe failed: {message}", question.word());
            self.shared.events.warn(&self.shared.pod, "Unhealthy", &text);
        }
        if question == Question::Ready {
            self.change(|state| state.ready = answer.is_ok());
        }
    }

    /// The time that a container has to end once a probe gave it up.
    fn grace(&self, question: Question) -> Duration {
        let probe = match question {
            Question::Started => &self.spec.startup_probe,
            _ => &self.spec.liveness_probe,
        };
        let of_pod = self.shared.pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
        let seconds =
            probe.as_ref().and_then(|probe| probe.termination_grace_period_seconds).or(of_pod).unwrap_or(30);
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
    }

    /// Ends a run: the hook, SIGTERM, and SIGKILL when the time is over.
    async fn end(&mut self, run: &Run, target: &Target, until: Timestamp) -> i32 {
        let clock = self.shared.clock.clone();
        let left = |until: Timestamp| {
            Duration::try_from(until.duration_since(clock.now())).unwrap_or(Duration::ZERO)
        };
        let mut ended = run.container.ended();
        let mut stop = self.stop.clone();
        stop.mark_unchanged();
        if let Some(hook) = self.spec.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref())
            && !left(until).is_zero()
        {
            tokio::select! {
                code = &mut ended => return code,
                done = self.hook(hook, target, left(until)) => {
                    if let Err(message) = done {
                        self.shared.events.warn(&self.shared.pod, "FailedPreStopHook", &format!("PreStopHook failed: {message}"));
                    }
                }
                () = clock.sleep(left(until)) => {}
                // a second, shorter order
                () = shortened(stop.clone()) => {}
            }
        }
        run.container.signal(Signal::Terminate);
        let ordered =
            |until: Timestamp, order: Option<Stop>| order.map_or(until, |order| order.until.min(until));
        let mut until = until.max(clock.now() + LEAST_GRACE);
        if stop.has_changed().unwrap_or(false) {
            until = ordered(until, *stop.borrow_and_update());
        }
        loop {
            tokio::select! {
                code = &mut ended => return code,
                () = clock.sleep(left(until)) => break,
                Ok(()) = stop.changed() => until = ordered(until, *stop.borrow_and_update()),
            }
        }
        run.container.signal(Signal::Kill);
        ended.await
    }

    async fn hook(&self, hook: &LifecycleHandler, target: &Target, limit: Duration) -> Result<(), String> {
        if let Some(sleep) = &hook.sleep {
            self.shared.clock.sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0))).await;
        }
        if let Some(exec) = &hook.exec {
            let command = exec.command.clone().unwrap_or_default();
            return match target.container.exec(&command, limit).await {
                Ok(0) => Ok(()),
                Ok(code) => Err(format!("the command ended with {code}")),
                Err(error) => Err(error.to_string()),
            };
        }
        match &hook.http_get {
            Some(get) => tokio::time::timeout(limit, probe::http(get, target))
                .await
                .unwrap_or_else(|_| Err(format!("no answer within {limit:?}"))),
            None => Ok(()),
        }
    }

    fn ended(&self, run: &Run, code: i32) -> Ended {
        let fallback = self.spec.termination_message_policy.as_deref() == Some("FallbackToLogsOnError");
        Ended {
            id: run.id.clone(),
            code,
            reason: if code == 0 { "Completed" } else { "Error" }.to_owned(),
            message: (fallback && code != 0).then(|| run.log.last_words()),
            started: run.since,
            finished: self.shared.clock.now(),
        }
    }

    /// Waits before a restart; false when the container is told to stop meanwhile.
    async fn pause(&mut self, ended: &Ended, pause: Duration) -> bool {
        if pause.is_zero() {
            return self.stop.borrow().is_none();
        }
        let shared = &self.shared;
        let pod = format!("{}_{}({})", shared.name(), shared.namespace(), shared.uid());
        let seconds = humantime::format_duration(pause).to_string().replace(' ', "");
        let text = format!("back-off {seconds} restarting failed container={} pod={pod}", self.spec.name);
        let now = Now::Waiting { reason: "CrashLoopBackOff".to_owned(), message: text.clone() };
        self.change(|state| {
            (state.now, state.ready, state.started) = (now.clone(), false, false);
            state.last = Some(ended.clone());
        });
        let text = format!("Back-off restarting failed container {} in pod {pod}", self.spec.name);
        self.shared.events.warn(&self.shared.pod, "BackOff", &text);
        tokio::select! {
            () = self.shared.clock.sleep(pause) => true,
            _ = self.stop.wait_for(Option::is_some) => false,
        }
    }
}

/// Waits until an order is changed.
async fn shortened(mut stop: watch::Receiver<Option<Stop>>) {
    if stop.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The program and its arguments, references to variables replaced.
fn command(spec: &Spec, env: &Environment) -> Vec<String> {
    let words = spec.command.iter().flatten().chain(spec.args.iter().flatten());
    words.map(|word| expand(word, env)).collect()
}

fn ran_for(ended: &Ended) -> Duration {
    Duration::try_from(ended.finished.duration_since(ended.started)).unwrap_or(Duration::ZERO)
}
