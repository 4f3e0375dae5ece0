//! Job → Pods that run to completion.
//!
//! Pods that have ended are counted once, though they may be deleted at any time: each carries a finalizer
//! until its end stands in the Job's status (KEP-2307). The rules are those of the Job controller of
//! Kubernetes, completion mode `NonIndexed`.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobSpec, JobStatus, UncountedTerminatedPods};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::PropagationPolicy;
use serde_json::json;

use super::super::cache::{Key, uid};
use super::change::{Change, Part};
use super::deployment::Decision;
use super::owner::{self, is_controlled_by};
use super::pods::{is_finished, is_ready, phase, restarts};
use super::template;

const TRACKING: &str = "batch.kubernetes.io/job-tracking";
const FIRST_BACKOFF: Duration = Duration::from_secs(10);
const LONGEST_BACKOFF: Duration = Duration::from_mins(10);

/// Whether the Job has come to its end, and with which condition.
pub(crate) fn finished(job: &Job) -> Option<&JobCondition> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    conditions
        .iter()
        .find(|held| matches!(held.type_.as_str(), "Complete" | "Failed") && held.status == "True")
}

/// Decides on the next writes for a Job. `candidates` are the pods of its namespace.
pub(crate) fn decide(job: &Job, candidates: &[Arc<Pod>], now: Timestamp) -> Decision {
    let mut decision = Decision::default();
    let Some(spec) = &job.spec else { return decision };
    let pods: Vec<_> =
        candidates.iter().filter(|pod| is_controlled_by(&pod.metadata, &job.metadata)).cloned().collect();
    if job.metadata.deletion_timestamp.is_some() || finished(job).is_some() {
        decision.writes.extend(pods.iter().filter_map(released).map(Into::into));
        expire(&mut decision, job, spec, now);
        return decision;
    }
    let mut run = Run::new(job, spec, &pods, now);
    run.conclude();
    run.staff(&mut decision);
    if let Some(write) = run.write() {
        // the count stands before anything may forget the pod, and before more pods are made
        decision.writes.insert(0, write.into());
    }
    decision.writes.extend(run.counted.iter().filter_map(|pod| released(pod)).map(Into::into));
    decision
}

/// Lets go of the pods of a Job that is no more.
pub(crate) fn abandon(key: &Key, pods: &[Arc<Pod>]) -> Decision {
    let mut decision = Decision::default();
    let of_job = |pod: &&Arc<Pod>| {
        owner::controller(&pod.metadata).is_some_and(|owner| owner.kind == "Job" && owner.name == key.name)
    };
    decision.writes.extend(pods.iter().filter(of_job).filter_map(released).map(Into::into));
    decision
}

/// The write that takes the tracking finalizer off a pod.
fn released(pod: &Arc<Pod>) -> Option<Change<Pod>> {
    let finalizers = pod.metadata.finalizers.as_deref().unwrap_or_default();
    let rest: Vec<_> = finalizers.iter().filter(|finalizer| *finalizer != TRACKING).collect();
    (rest.len() < finalizers.len())
        .then(|| Change::merge(&**pod, Part::Object, json!({"metadata": {"finalizers": rest}})))
}

/// Deletes a finished Job when its time to live has passed.
fn expire(decision: &mut Decision, job: &Job, spec: &JobSpec, now: Timestamp) {
    let (Some(ttl), Some(end), None) =
        (spec.ttl_seconds_after_finished, finished(job), &job.metadata.deletion_timestamp)
    else {
        return;
    };
    let Some(ended) = &end.last_transition_time else { return };
    let rest = Duration::try_from((ended.0 + seconds(ttl)).duration_since(now)).unwrap_or(Duration::ZERO);
    if rest.is_zero() {
        decision.write(Change::<Job>::Delete {
            key: Key::of(job),
            uid: uid(job),
            policy: PropagationPolicy::Foreground,
        });
    } else {
        decision.again = Some(rest);
    }
}

/// One look at a Job that has not finished.
struct Run<'a> {
    job: &'a Job,
    spec: &'a JobSpec,
    now: Timestamp,
    status: JobStatus,
    /// Pods that may still succeed.
    active: Vec<&'a Arc<Pod>>,
    terminating: usize,
    /// Pods whose end stands in the status.
    counted: Vec<&'a Arc<Pod>>,
    last_failure: Option<Timestamp>,
}

impl<'a> Run<'a> {
    fn new(job: &'a Job, spec: &'a JobSpec, pods: &'a [Arc<Pod>], now: Timestamp) -> Self {
        let mut status = job.status.clone().unwrap_or_default();
        let suspended = spec.suspend == Some(true);
        if status.start_time.is_none() && !suspended {
            status.start_time = Some(Time(now));
        }
        let uncounted = status.uncounted_terminated_pods.take().unwrap_or_default();
        let before = [uncounted.succeeded.unwrap_or_default(), uncounted.failed.unwrap_or_default()].concat();
        let mut open = UncountedTerminatedPods { succeeded: None, failed: None };
        let mut run = Self {
            job,
            spec,
            now,
            status,
            active: vec![],
            terminating: 0,
            counted: vec![],
            last_failure: None,
        };
        for pod in pods {
            let tracked =
                pod.metadata.finalizers.as_ref().is_some_and(|all| all.iter().any(|f| f == TRACKING));
            let leaving = pod.metadata.deletion_timestamp.is_some();
            if !is_finished(pod) {
                if leaving {
                    run.terminating += 1;
                } else {
                    run.active.push(pod);
                }
                continue;
            }
            let succeeded = phase(pod) == "Succeeded";
            if !succeeded {
                run.last_failure = run.last_failure.max(ended(pod));
            }
            if !tracked {
                continue;
            }
            run.counted.push(pod);
            let (count, names) = if succeeded {
                (&mut run.status.succeeded, &mut open.succeeded)
            } else {
                (&mut run.status.failed, &mut open.failed)
            };
            // a name stays until its pod has let go of the finalizer, so that it is not counted twice
            names.get_or_insert_default().push(uid(&**pod));
            if !before.contains(&uid(&**pod)) {
                *count = Some(count.unwrap_or(0) + 1);
            }
        }
        run.status.uncounted_terminated_pods = Some(open);
        run
    }

    fn succeeded(&self) -> i32 {
        self.status.succeeded.unwrap_or(0)
    }

    fn failed(&self) -> i32 {
        self.status.failed.unwrap_or(0)
    }

    /// Sets the conditions that say how the Job ends, if it does.
    fn conclude(&mut self) {
        let suspended = self.spec.suspend == Some(true);
        if suspended {
            self.set("Suspended", "True", "JobSuspended", "Job suspended");
        } else if self.has("Suspended", "True") {
            self.set("Suspended", "False", "JobResumed", "Job resumed");
            self.status.start_time = Some(Time(self.now));
        }
        if !self.has("FailureTarget", "True")
            && let Some((reason, message)) = self.failure()
        {
            self.set("FailureTarget", "True", reason, message);
        }
        let quiet = self.active.is_empty() && self.terminating == 0;
        let target =
            self.status.conditions.iter().flatten().find(|held| held.type_ == "FailureTarget").cloned();
        if let Some(target) = target {
            if quiet {
                let text = |text: Option<String>| text.unwrap_or_default();
                self.set("Failed", "True", &text(target.reason), &text(target.message));
            }
        } else if self.is_complete() {
            let (reason, message) = ("CompletionsReached", "Reached expected number of succeeded pods");
            self.set("SuccessCriteriaMet", "True", reason, message);
            if quiet {
                self.set("Complete", "True", reason, message);
                self.status.completion_time = Some(Time(self.now));
            }
        }
    }

    fn failure(&self) -> Option<(&'static str, &'static str)> {
        let limit = self.spec.backoff_limit.unwrap_or(6);
        let template = self.spec.template.spec.as_ref();
        let in_place = template.and_then(|spec| spec.restart_policy.as_deref()) == Some("OnFailure");
        let restarts: i32 = self.active.iter().map(|pod| restarts(pod)).sum();
        let restarted = in_place && if limit == 0 { restarts > 0 } else { restarts >= limit };
        if self.failed() > limit || restarted {
            return Some(("BackoffLimitExceeded", "Job has reached the specified backoff limit"));
        }
        self.deadline()
            .is_some_and(|rest| rest.is_zero())
            .then_some(("DeadlineExceeded", "Job was active longer than specified deadline"))
    }

    /// How long the Job may still run.
    fn deadline(&self) -> Option<Duration> {
        if self.spec.suspend == Some(true) {
            return None;
        }
        let due = self.status.start_time.as_ref()?.0 + seconds(self.spec.active_deadline_seconds?);
        Some(Duration::try_from(due.duration_since(self.now)).unwrap_or(Duration::ZERO))
    }

    fn is_complete(&self) -> bool {
        match self.spec.completions {
            Some(completions) => self.succeeded() >= completions,
            None => self.succeeded() > 0 && self.active.is_empty(),
        }
    }

    /// Makes the pods that are missing, deletes those that are too many.
    fn staff(&self, decision: &mut Decision) {
        let ends = self.has("FailureTarget", "True") || self.has("SuccessCriteriaMet", "True");
        let wanted = if ends || self.spec.suspend == Some(true) { 0 } else { self.wanted() };
        let surplus = self.active.len().saturating_sub(wanted);
        for pod in &self.active[..surplus] {
            decision.write(Change::delete(&***pod));
        }
        let missing = wanted.saturating_sub(self.active.len());
        decision.again = self.deadline();
        if missing == 0 {
            return;
        }
        let wait = self.backoff();
        if !wait.is_zero() {
            decision.again = Some(decision.again.map_or(wait, |deadline| deadline.min(wait)));
            return;
        }
        for _ in 0..missing {
            decision.write(Change::Create(Box::new(self.pod())));
        }
    }

    fn wanted(&self) -> usize {
        let parallel = self.spec.parallelism.unwrap_or(1);
        let wanted = match self.spec.completions {
            Some(completions) => parallel.min(completions - self.succeeded()),
            None if self.succeeded() > 0 => return self.active.len(),
            None => parallel,
        };
        usize::try_from(wanted).unwrap_or(0)
    }

    /// How long to wait after a failure before the next pod.
    fn backoff(&self) -> Duration {
        let (Some(failed), Some(failures)) = (self.last_failure, self.failed().checked_sub(1)) else {
            return Duration::ZERO;
        };
        let delay =
            FIRST_BACKOFF.saturating_mul(2_u32.saturating_pow(failures.unsigned_abs())).min(LONGEST_BACKOFF);
        Duration::try_from((failed + delay).duration_since(self.now)).unwrap_or(Duration::ZERO)
    }

    fn pod(&self) -> Pod {
        let namespace = self.job.metadata.namespace.as_deref().unwrap_or_default();
        let mut pod = template::pod(&self.spec.template, namespace, owner::reference(self.job));
        let labels = pod.metadata.labels.get_or_insert_default();
        let name = self.job.metadata.name.clone().unwrap_or_default();
        for prefix in ["", "batch.kubernetes.io/"] {
            labels.entry(format!("{prefix}controller-uid")).or_insert_with(|| uid(self.job));
            labels.entry(format!("{prefix}job-name")).or_insert_with(|| name.clone());
        }
        pod.metadata.finalizers.get_or_insert_default().push(TRACKING.to_owned());
        pod
    }

    fn has(&self, kind: &str, status: &str) -> bool {
        self.status.conditions.iter().flatten().any(|held| held.type_ == kind && held.status == status)
    }

    fn set(&mut self, kind: &str, status: &str, reason: &str, message: &str) {
        if self.has(kind, status) {
            return;
        }
        let conditions = self.status.conditions.get_or_insert_default();
        conditions.retain(|held| held.type_ != kind);
        conditions.push(JobCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_probe_time: Some(Time(self.now)),
            last_transition_time: Some(Time(self.now)),
        });
    }

    fn write(&mut self) -> Option<Change<Job>> {
        let number = |count: usize| i32::try_from(count).ok().filter(|count| *count > 0);
        let active =
            if self.has("Complete", "True") || self.has("Failed", "True") { 0 } else { self.active.len() };
        self.status.active = number(active);
        self.status.terminating = Some(i32::try_from(self.terminating).unwrap_or(i32::MAX));
        self.status.ready =
            Some(i32::try_from(self.active.iter().filter(|pod| is_ready(pod)).count()).unwrap_or(0));
        if self.job.status.as_ref() == Some(&self.status) {
            return None;
        }
        let status = &self.status;
        let body = json!({"status": {
            "active": status.active, "ready": status.ready, "terminating": status.terminating,
            "succeeded": status.succeeded, "failed": status.failed,
            "startTime": status.start_time, "completionTime": status.completion_time,
            "conditions": status.conditions,
            "uncountedTerminatedPods": uncounted(status),
        }});
        Some(Change::merge(self.job, Part::Status, body))
    }
}

/// The names of ended pods, each list named even when it is empty, so that the patch takes old names away.
fn uncounted(status: &JobStatus) -> serde_json::Value {
    let open = status.uncounted_terminated_pods.clone().unwrap_or_default();
    json!({"succeeded": open.succeeded, "failed": open.failed})
}

/// When the last container of the pod ended.
fn ended(pod: &Pod) -> Option<Timestamp> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let times =
        statuses.iter().filter_map(|status| status.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref());
    times.map(|time| time.0).max()
}

fn seconds(count: impl TryInto<u64>) -> Duration {
    Duration::from_secs(count.try_into().unwrap_or(0))
}

#[cfg(test)]
mod tests;
