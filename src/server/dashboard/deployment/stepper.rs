//! Git → Build → Plan → Apply → Health: what was done, what is under way, and what is still to come.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::server::dashboard::{badge, link, time};
use crate::store::{Deployment, Step};

/// The steps that every deployment takes, in their order.
const ORDER: [&str; 5] = ["Git", "Build", "Plan", "Apply", "Health"];

pub(super) fn steps(row: &Deployment, recorded: &[Step], now: Timestamp) -> Vec<Value> {
    let failed = recorded.iter().find(|step| step.state == "failed").map(name);
    let more = recorded.iter().map(name).filter(|name| !ORDER.contains(name));
    let all: Vec<&str> = ORDER.into_iter().chain(more).collect();
    all.iter()
        .map(|step| {
            let found = recorded.iter().find(|one| name(one) == *step);
            let state = match found {
                Some(found) => found.state.as_str(),
                None => unrecorded(row, recorded, failed, step),
            };
            // the cause of a failure has a place of its own
            let told = found.and_then(|found| found.detail.as_deref()).filter(|_| state != "failed");
            let revision = row.app_revision.as_deref().or(row.config_revision.as_deref()).map(link::short);
            let detail = if *step == "Git" { revision } else { told };
            let took = found.and_then(|found| {
                found.started.map(|started| time::took(started, found.ended.unwrap_or(now)))
            });
            json!({"name": step, "badge": badge::of_step(state), "state": state, "detail": detail,
                "took": took.filter(|_| state != "failed" || *step != "Plan")})
        })
        .collect()
}

/// A template or a policy that refuses is a plan that cannot be made.
fn name(step: &Step) -> &str {
    if step.name == "Render" { "Plan" } else { &step.name }
}

/// The state of a step that nothing is written down about.
fn unrecorded(row: &Deployment, recorded: &[Step], failed: Option<&str>, step: &str) -> &'static str {
    let place = |name: &str| ORDER.iter().position(|known| *known == name).unwrap_or(ORDER.len());
    let reached = recorded.iter().map(|step| place(name(step))).max().unwrap_or_default();
    match (step, failed) {
        ("Git", _) => "done",
        // refused before anything was begun
        (_, Some("Git" | "Plan")) => "notBegun",
        ("Build", _) if place(step) < reached => "skipped",
        // an attempt plans before its rollout begins, and each step leaves its own record but this
        (_, _) if place(step) < reached => "done",
        (_, _) if row.ended.is_some() => "notBegun",
        _ => "waiting",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(ended: bool, recorded: &[(&str, &str)]) -> String {
        let time: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        let row = Deployment {
            id: "1".to_owned(),
            project: "shop".to_owned(),
            environment: "staging".to_owned(),
            service: "api".to_owned(),
            input_digest: String::new(),
            attempt: 1,
            state: String::new(),
            app_revision: None,
            config_revision: None,
            artifact: None,
            cause: String::new(),
            reported_on: None,
            created: time,
            started: None,
            ended: ended.then_some(time),
            error: None,
            hint: None,
        };
        let recorded: Vec<Step> = recorded
            .iter()
            .map(|(name, state)| Step {
                deployment: "1".to_owned(),
                name: (*name).to_owned(),
                state: (*state).to_owned(),
                started: None,
                ended: None,
                detail: None,
            })
            .collect();
        let all = steps(&row, &recorded, time);
        let one = |step: &Value| {
            format!(
                "{} {}",
                step["name"].as_str().unwrap_or_default(),
                step["state"].as_str().unwrap_or_default()
            )
        };
        all.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn every_step_is_shown_as_far_as_it_came() {
        insta::assert_snapshot!(shown(false, &[]), @"Git done, Build waiting, Plan waiting, Apply waiting, Health waiting");
        insta::assert_snapshot!(shown(false, &[("Build", "running")]), @"Git done, Build running, Plan waiting, Apply waiting, Health waiting");
        insta::assert_snapshot!(shown(true, &[("Build", "failed")]), @"Git done, Build failed, Plan notBegun, Apply notBegun, Health notBegun");
        insta::assert_snapshot!(shown(true, &[("Render", "failed")]), @"Git done, Build notBegun, Plan failed, Apply notBegun, Health notBegun");
        insta::assert_snapshot!(shown(true, &[("Git", "failed")]), @"Git failed, Build notBegun, Plan notBegun, Apply notBegun, Health notBegun");
        insta::assert_snapshot!(shown(false, &[("Apply", "running")]), @"Git done, Build skipped, Plan done, Apply running, Health waiting");
        insta::assert_snapshot!(shown(true, &[("Build", "done"), ("Apply", "done"), ("Health", "done"), ("Prune", "done")]), @"Git done, Build done, Plan done, Apply done, Health done, Prune done");
    }
}
