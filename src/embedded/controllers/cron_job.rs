//! CronJob → Jobs, at the times of a schedule.

use std::sync::Arc;
use std::time::Duration;

use croner::Cron;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, Job, JobTemplateSpec};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde_json::json;

use super::change::{Change, Part};
use super::deployment::Decision;
use super::job::finished;
use super::owner::{self, is_controlled_by};

/// The annotation that says for which time a Job was made.
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

/// Why a CronJob cannot be scheduled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScheduleError {
    #[error("the schedule {schedule:?} is not understood")]
    Schedule {
        schedule: String,
        #[source]
        source: croner::errors::CronError,
    },
    #[error("the time zone {zone:?} is not known on this machine")]
    Zone {
        zone: String,
        #[source]
        source: jiff::Error,
    },
}

/// Decides on the next writes for a CronJob. `candidates` are the Jobs of its namespace.
pub(crate) fn decide(
    cron: &CronJob,
    candidates: &[Arc<Job>],
    now: Timestamp,
) -> Result<Decision, ScheduleError> {
    let mut decision = Decision::default();
    let Some(spec) = &cron.spec else { return Ok(decision) };
    let mut jobs: Vec<_> =
        candidates.iter().filter(|job| is_controlled_by(&job.metadata, &cron.metadata)).cloned().collect();
    jobs.sort_by_key(|job| (scheduled(job), job.metadata.name.clone()));
    forget_history(&mut decision, spec, &jobs);
    let mut last =
        cron.status.as_ref().and_then(|status| status.last_schedule_time.as_ref()).map(|time| time.0);
    last = last.max(jobs.iter().filter_map(|job| scheduled(job)).max());
    let suspended = spec.suspend == Some(true) || cron.metadata.deletion_timestamp.is_some();
    let active: Vec<_> = jobs.iter().filter(|job| finished(job).is_none()).cloned().collect();
    if !suspended {
        let schedule = Schedule::of(spec)?;
        let since = last.or(cron.metadata.creation_timestamp.as_ref().map(|time| time.0)).unwrap_or(now);
        let due = schedule.latest(now).filter(|due| *due > since && !is_late(spec, *due, now));
        let blocked = !active.is_empty() && spec.concurrency_policy.as_deref() == Some("Forbid");
        if let Some(due) = due.filter(|_| !blocked) {
            if spec.concurrency_policy.as_deref() == Some("Replace") {
                let replaced = active.iter().filter(|job| job.metadata.deletion_timestamp.is_none());
                replaced.for_each(|job| decision.write(Change::delete(&**job)));
            }
            decision.write(Change::Create(Box::new(job(cron, &spec.job_template, due))));
            last = Some(due);
        }
        decision.again =
            schedule.after(now).and_then(|next| Duration::try_from(next.duration_since(now)).ok());
    }
    if let Some(write) = status(cron, &jobs, &active, last) {
        decision.write(write);
    }
    Ok(decision)
}

/// A schedule in its time zone.
struct Schedule {
    cron: Cron,
    zone: TimeZone,
}

impl Schedule {
    fn of(spec: &CronJobSpec) -> Result<Self, ScheduleError> {
        let cron: Cron = spec
            .schedule
            .parse()
            .map_err(|source| ScheduleError::Schedule { schedule: spec.schedule.clone(), source })?;
        // a real controller without a time zone uses that of its own process, which is UTC in a cluster
        let zone = spec.time_zone.as_deref().unwrap_or("UTC");
        let zone =
            TimeZone::get(zone).map_err(|source| ScheduleError::Zone { zone: zone.to_owned(), source })?;
        Ok(Self { cron, zone })
    }

    /// The last time that was scheduled, up to and including `now`.
    fn latest(&self, now: Timestamp) -> Option<Timestamp> {
        self.cron.find_previous_occurrence(&self.zoned(now), true).ok().map(|time| time.timestamp())
    }

    fn after(&self, now: Timestamp) -> Option<Timestamp> {
        self.cron.find_next_occurrence(&self.zoned(now), false).ok().map(|time| time.timestamp())
    }

    fn zoned(&self, time: Timestamp) -> Zoned {
        time.to_zoned(self.zone.clone())
    }
}

/// Whether `due` lies further back than a Job may start late.
fn is_late(spec: &CronJobSpec, due: Timestamp, now: Timestamp) -> bool {
    let deadline = spec.starting_deadline_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    deadline.is_some_and(|seconds| due + Duration::from_secs(seconds) < now)
}

fn job(cron: &CronJob, template: &JobTemplateSpec, due: Timestamp) -> Job {
    let meta = template.metadata.clone().unwrap_or_default();
    let mut annotations = meta.annotations.unwrap_or_default();
    let written = due.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    annotations.insert(SCHEDULED.to_owned(), written);
    let name = cron.metadata.name.as_deref().unwrap_or_default();
    Job {
        metadata: ObjectMeta {
            // one name per scheduled time, so that the same time is never run twice
            name: Some(format!("{name}-{}", due.as_second() / 60)),
            namespace: cron.metadata.namespace.clone(),
            labels: meta.labels,
            annotations: Some(annotations),
            owner_references: Some(vec![owner::reference(cron)]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

fn scheduled(job: &Job) -> Option<Timestamp> {
    job.metadata.annotations.as_ref()?.get(SCHEDULED)?.parse().ok()
}

/// Deletes the oldest finished Jobs beyond the history limits.
fn forget_history(decision: &mut Decision, spec: &CronJobSpec, jobs: &[Arc<Job>]) {
    let limits = [
        ("Complete", spec.successful_jobs_history_limit.unwrap_or(3)),
        ("Failed", spec.failed_jobs_history_limit.unwrap_or(1)),
    ];
    for (kind, limit) in limits {
        let of_kind: Vec<_> =
            jobs.iter().filter(|job| finished(job).is_some_and(|end| end.type_ == kind)).collect();
        let surplus = of_kind.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        for job in of_kind.iter().take(surplus).filter(|job| job.metadata.deletion_timestamp.is_none()) {
            decision.write(Change::delete(&***job));
        }
    }
}

fn status(
    cron: &CronJob,
    jobs: &[Arc<Job>],
    active: &[Arc<Job>],
    last: Option<Timestamp>,
) -> Option<Change<CronJob>> {
    let reference = |job: &Arc<Job>| ObjectReference {
        api_version: Some("batch/v1".to_owned()),
        kind: Some("Job".to_owned()),
        name: job.metadata.name.clone(),
        namespace: job.metadata.namespace.clone(),
        uid: job.metadata.uid.clone(),
        resource_version: job.metadata.resource_version.clone(),
        ..ObjectReference::default()
    };
    let old = cron.status.clone().unwrap_or_default();
    let held = old.active.as_deref().unwrap_or_default();
    // a reference that stands is kept as it was written: the Job's version moves on, the reference need not
    let running: Vec<_> = active
        .iter()
        .map(|job| {
            held.iter().find(|held| held.uid == job.metadata.uid).cloned().unwrap_or_else(|| reference(job))
        })
        .collect();
    let success =
        jobs.iter().filter_map(|job| job.status.as_ref()?.completion_time.as_ref().map(|time| time.0)).max();
    let success = success.max(old.last_successful_time.as_ref().map(|time| time.0));
    let last = last.map(Time);
    let success = success.map(Time);
    if held == running && old.last_schedule_time == last && old.last_successful_time == success {
        return None;
    }
    let active = (!running.is_empty()).then_some(running);
    let body = json!({"status": {"active": active, "lastScheduleTime": last, "lastSuccessfulTime": success}});
    Some(Change::merge(cron, Part::Status, body))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::change::Write;
    use super::*;

    fn cron(spec: &Value, last: &str) -> CronJob {
        let mut full = json!({"schedule": "0 3 * * *", "jobTemplate": {"spec": {"template": {}}}});
        for (name, value) in spec.as_object().unwrap() {
            full[name] = value.clone();
        }
        let value = json!({
            "metadata": {"name": "report", "namespace": "shop", "uid": "cron", "resourceVersion": "1"},
            "spec": full, "status": {"lastScheduleTime": last},
        });
        serde_json::from_value(value).unwrap()
    }

    fn job(name: &str, at: &str, end: Option<&str>) -> Arc<Job> {
        let conditions = end.map(|end| json!([{"type": end, "status": "True"}]));
        let value = json!({
            "metadata": {"name": name, "namespace": "shop", "uid": name, "annotations": {SCHEDULED: at},
                "ownerReferences": [{"apiVersion": "batch/v1", "kind": "CronJob", "name": "report", "uid": "cron", "controller": true}]},
            "status": {"conditions": conditions},
        });
        Arc::new(serde_json::from_value(value).unwrap())
    }

    fn summary(decision: &Decision) -> Vec<String> {
        let line = |write: &Write| match write {
            Write::Job(Change::Create(job)) => format!("create {}", job.metadata.name.as_deref().unwrap()),
            Write::Job(Change::Delete { key, .. }) => format!("delete {}", key.name),
            Write::CronJob(Change::Merge { body, .. }) => {
                format!("status {}", body["status"]["lastScheduleTime"])
            }
            other => format!("{other:?}"),
        };
        decision.writes.iter().map(line).collect()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_job_is_made_when_its_time_has_come_in_the_zone_of_the_schedule() {
        let cron = cron(&json!({"timeZone": "Europe/Berlin"}), "2026-01-01T02:00:00Z");
        let before = decide(&cron, &[], at("2026-01-02T01:59:00Z")).unwrap();
        assert_eq!((summary(&before).len(), before.again), (0, Some(Duration::from_mins(1))));
        let due = decide(&cron, &[], at("2026-01-02T02:00:00Z")).unwrap();
        assert_eq!(summary(&due), ["create report-29455320", "status \"2026-01-02T02:00:00Z\""]);
    }

    #[test]
    fn of_many_missed_times_only_the_last_is_made_up_for() {
        let due = decide(&cron(&json!({}), "2026-01-01T03:00:00Z"), &[], at("2026-01-09T10:00:00Z")).unwrap();
        assert_eq!(summary(&due), ["create report-29465460", "status \"2026-01-09T03:00:00Z\""]);
        let late = cron(&json!({"startingDeadlineSeconds": 60}), "2026-01-01T03:00:00Z");
        assert!(decide(&late, &[], at("2026-01-09T10:00:00Z")).unwrap().writes.is_empty());
    }

    #[test]
    fn a_running_job_forbids_or_is_replaced() {
        let running = [job("old", "2026-01-01T03:00:00Z", None)];
        let now = at("2026-01-02T03:00:00Z");
        let forbid = cron(&json!({"concurrencyPolicy": "Forbid"}), "2026-01-01T03:00:00Z");
        assert_eq!(summary(&decide(&forbid, &running, now).unwrap()), ["status \"2026-01-01T03:00:00Z\""]);
        let replace = cron(&json!({"concurrencyPolicy": "Replace"}), "2026-01-01T03:00:00Z");
        assert_eq!(
            summary(&decide(&replace, &running, now).unwrap())[..2],
            ["delete old", "create report-29455380"]
        );
    }

    #[test]
    fn history_is_kept_up_to_its_limits() {
        let done: Vec<_> = (1..=5)
            .map(|day| job(&format!("day-{day}"), &format!("2026-01-0{day}T03:00:00Z"), Some("Complete")))
            .collect();
        let decision =
            decide(&cron(&json!({}), "2026-01-05T03:00:00Z"), &done, at("2026-01-05T04:00:00Z")).unwrap();
        assert_eq!(summary(&decision), ["delete day-1", "delete day-2"]);
    }

    #[test]
    fn an_unknown_time_zone_is_named() {
        let cron = cron(&json!({"timeZone": "Europe/Atlantis"}), "2026-01-01T03:00:00Z");
        let error = decide(&cron, &[], at("2026-01-05T04:00:00Z")).unwrap_err();
        insta::assert_snapshot!(error, @r#"the time zone "Europe/Atlantis" is not known on this machine"#);
    }
}
