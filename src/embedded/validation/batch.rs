//! Jobs and CronJobs.

use super::{Cause, immutable, not_negative, pod, text, workload};
use crate::embedded::select::selects;
use serde_json::{Value, json};

/// Problems of a Job.
pub(super) fn job(object: &Value, live: Option<&Value>) -> Vec<Cause> {
    let spec = &object["spec"];
    let selector = &spec["selector"];
    let mut causes = Vec::new();
    if live.is_none() && spec["manualSelector"] != Value::Bool(true) {
        let own = json!({"matchLabels": {"batch.kubernetes.io/controller-uid": object["metadata"]["uid"]}});
        if *selector != own {
            causes.push(Cause::invalid("spec.selector", selector, "`selector` not auto-generated"));
        }
    }
    causes.extend(job_spec(spec, "spec"));
    if selector.is_null() {
        causes.push(Cause::required("spec.selector", ""));
    } else {
        causes.extend(workload::selector(selector, "spec.selector"));
    }
    let labels = &spec["template"]["metadata"]["labels"];
    if selector.is_null() || !selects(selector, labels) {
        let why = "`selector` does not match template `labels`";
        causes.push(Cause::invalid("spec.template.metadata.labels", labels, why));
    }
    let Some(live) = live else { return causes };
    let fields =
        ["completions", "selector", "template", "completionMode", "podFailurePolicy", "backoffLimitPerIndex"];
    for field in fields.into_iter().chain(["managedBy", "successPolicy"]) {
        let suspended = live["spec"]["suspend"] == Value::Bool(true) && live["status"]["startTime"].is_null();
        if field == "template" && suspended {
            continue;
        }
        causes.extend(immutable(&spec[field], &live["spec"][field], &format!("spec.{field}")));
    }
    causes
}

fn job_spec(spec: &Value, at: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    for field in
        ["parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"]
    {
        causes.extend(not_negative(spec, field, at));
    }
    let mode = text(spec, "completionMode");
    if !mode.is_empty() && !["NonIndexed", "Indexed"].contains(&mode) {
        let supported = ["NonIndexed", "Indexed"];
        causes.push(Cause::unsupported_in_order(
            format!("{at}.completionMode"),
            &spec["completionMode"],
            &supported,
        ));
    }
    if mode == "Indexed" && spec["completions"].is_null() {
        causes.push(Cause::required(format!("{at}.completions"), "when completion mode is Indexed"));
    }
    causes.extend(pod::template(&spec["template"], &format!("{at}.template")));
    let restart = &spec["template"]["spec"]["restartPolicy"];
    let field = format!("{at}.template.spec.restartPolicy");
    match restart.as_str().unwrap_or_default() {
        "" | "Always" => {
            causes.push(Cause::required(field, "valid values: \"OnFailure\", \"Never\""));
        }
        "OnFailure" if !spec["podFailurePolicy"].is_null() => {
            let why = "only \"Never\" is supported when podFailurePolicy is specified";
            causes.push(Cause::invalid(field, restart, why));
        }
        "OnFailure" | "Never" => {}
        _ => causes.push(Cause::unsupported_in_order(field, restart, &["OnFailure", "Never"])),
    }
    causes
}

/// Problems of a CronJob.
pub(super) fn cron_job(object: &Value, live: Option<&Value>) -> Vec<Cause> {
    let spec = &object["spec"];
    let mut causes = Vec::new();
    let schedule = text(spec, "schedule");
    if schedule.is_empty() {
        causes.push(Cause::required("spec.schedule", ""));
    } else if schedule.contains("TZ") {
        let why = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
        causes.push(Cause::invalid("spec.schedule", &spec["schedule"], why));
    } else if let Some(why) = schedule_problem(schedule) {
        causes.push(Cause::invalid("spec.schedule", &spec["schedule"], why));
    }
    causes.extend(not_negative(spec, "startingDeadlineSeconds", "spec"));
    if let Some(zone) = spec["timeZone"].as_str() {
        if zone.is_empty() {
            causes.push(Cause::invalid(
                "spec.timeZone",
                &json!(""),
                "timeZone must be nil or non-empty string",
            ));
        } else if zone == "Local" || jiff::tz::TimeZone::get(zone).is_err() {
            let why = format!("unknown time zone {zone}");
            causes.push(Cause::invalid("spec.timeZone", &spec["timeZone"], why));
        }
    }
    let policies = ["Allow", "Forbid", "Replace"];
    if !policies.contains(&text(spec, "concurrencyPolicy")) {
        causes.push(Cause::unsupported("spec.concurrencyPolicy", &spec["concurrencyPolicy"], &policies));
    }
    causes.extend(job_spec(&spec["jobTemplate"]["spec"], "spec.jobTemplate.spec"));
    let template = &spec["jobTemplate"]["spec"];
    if !template["selector"].is_null() {
        let field = "spec.jobTemplate.spec.selector";
        causes.push(Cause::invalid(field, &template["selector"], "`selector` will be auto-generated"));
    }
    if template["manualSelector"] == Value::Bool(true) {
        let field = "spec.jobTemplate.spec.manualSelector";
        causes.push(Cause::unsupported_in_order(field, &template["manualSelector"], &["nil", "false"]));
    }
    causes.extend(not_negative(spec, "successfulJobsHistoryLimit", "spec"));
    causes.extend(not_negative(spec, "failedJobsHistoryLimit", "spec"));
    if live.is_none() && text(&object["metadata"], "name").len() > 52 {
        let why = "must be no more than 52 characters";
        causes.push(Cause::invalid("metadata.name", &object["metadata"]["name"], why));
    }
    causes
}

/// What is wrong with a schedule in the standard cron format.
fn schedule_problem(schedule: &str) -> Option<String> {
    if let Some(descriptor) = schedule.strip_prefix('@') {
        let known = ["yearly", "annually", "monthly", "weekly", "daily", "midnight", "hourly"];
        if known.contains(&descriptor) || descriptor.starts_with("every ") {
            return None;
        }
        return Some(format!("unrecognized descriptor: {schedule}"));
    }
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    if fields.len() != 5 {
        return Some(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
    }
    schedule.parse::<croner::Cron>().err().map(|error| error.to_string())
}
