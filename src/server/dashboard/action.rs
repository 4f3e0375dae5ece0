//! What a person may do from a page: a request to our own API, and the same as a command.
//!
//! The script asks for the server's token and sends the request; without it the command is what a page offers.

use serde::Serialize;
use serde_json::{Value, json};

/// A thing to do.
#[derive(Debug, Serialize)]
pub(super) struct Action {
    /// What stands on the button.
    label: String,
    /// What happens then, in a sentence.
    what: String,
    /// The route that it is posted to.
    path: &'static str,
    /// The body, as JSON.
    body: String,
    /// The same on a command line.
    command: String,
}

impl Action {
    fn new(
        label: impl Into<String>,
        what: String,
        path: &'static str,
        body: &Value,
        command: String,
    ) -> Self {
        Self { label: label.into(), what, path, body: body.to_string(), command }
    }

    /// Looks again, and tries again what failed.
    pub(super) fn deploy(label: &str, project: &str, environment: &str, service: &str) -> Self {
        Self::new(
            label,
            format!(
                "Git and the cluster are looked at now, and what failed of {service} in {environment} is tried again."
            ),
            "/api/v1/deployments",
            &json!({"project": project, "environment": environment, "service": service}),
            format!("branchline deploy {service} -e {environment} -p {project}"),
        )
    }

    /// Moves what is live in one environment on to the next.
    pub(super) fn promote(project: &str, from: &str, to: &str, services: &[&str]) -> Self {
        let (names, one) = (services.join(", "), services.len() == 1);
        let label = if one { format!("Promote to {to}") } else { format!("Promote all to {to}") };
        Self::new(
            label,
            format!("A commit to the config repository pins in {to} what is live in {from}: {names}."),
            "/api/v1/promotions",
            &json!({"project": project, "from": from, "to": to, "services": services}),
            format!("branchline promote {} --from {from} --to {to} -p {project}", services.join(" ")),
        )
    }

    /// Puts the release before the live one back.
    pub(super) fn roll_back(project: &str, environment: &str, service: &str, to: &str) -> Self {
        let short = super::link::short(to);
        Self::new(
            format!("Roll back to {short}"),
            format!(
                "A commit to the config repository pins {service} in {environment} to {short}, and holds it there."
            ),
            "/api/v1/rollbacks",
            &json!({"project": project, "environment": environment, "service": service, "to": to}),
            format!("branchline rollback {service} -e {environment} -p {project} --to {to}"),
        )
    }

    /// Lets a removal go ahead that the brake holds.
    pub(super) fn approve(plan: &str, services: &str) -> Self {
        Self::new(
            "Approve the removal",
            format!("The objects of {services} are deleted from the cluster."),
            "/api/v1/approvals",
            &json!({"plan": plan}),
            format!("branchline approve {plan}"),
        )
    }
}
