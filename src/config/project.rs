//! `kind: Project`: a tenant, its owners, the order of its environments, its previews.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::root::Defaults;
use super::value::Period;

/// A project.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ProjectSpec {
    /// One sentence for people.
    #[schemars(example = &"The web shop", length(max = 500))]
    pub description: Option<String>,
    /// The GitHub teams and people that own it.
    #[schemars(example = serde_json::json!(["@acme/checkout"]), length(max = 50))]
    pub owners: Option<Vec<String>>,
    /// The environments in the order of promotion.
    #[schemars(example = serde_json::json!(["staging", "production"]), length(max = 20))]
    pub environments: Option<Vec<String>>,
    /// How a release moves from one environment to the next.
    #[schemars(example = serde_json::json!([{"from": "staging", "to": "production"}]), length(max = 20))]
    pub promotion: Option<Vec<Promotion>>,
    /// Environments for pull requests.
    #[schemars(example = serde_json::json!({"enabled": true, "base": "staging"}))]
    pub previews: Option<Previews>,
    /// What its services begin with.
    #[schemars(example = serde_json::json!({"service": {"replicas": 2}}))]
    pub defaults: Option<Defaults>,
    /// Who is told of what.
    #[schemars(example = serde_json::json!([{"slack": "#shop", "on": ["failed"]}]))]
    pub notifications: Option<Vec<Value>>,
    /// How long the checks of a commit may take.
    #[schemars(example = serde_json::json!({"timeout": "30m"}))]
    pub checks_pass: Option<BTreeMap<String, Value>>,
}

/// How a release moves from one environment to the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Promotion {
    /// Where the release comes from.
    #[schemars(example = &"staging")]
    pub from: String,
    /// Where it goes.
    #[schemars(example = &"production")]
    pub to: String,
    /// Whether it is committed at once or proposed as a pull request.
    #[serde(default)]
    #[schemars(example = &"commit", extend("default" = "commit"))]
    pub mode: PromotionMode,
    /// What must hold before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(example = serde_json::json!(["healthy"]), extend("default" = []))]
    pub require: Vec<Requirement>,
    /// How long it must have been live before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"30m")]
    pub soak: Option<Period>,
}

/// How a promotion is written to Git.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum PromotionMode {
    /// As a commit.
    #[default]
    Commit,
    /// As a pull request.
    PullRequest,
}

/// What must hold before a promotion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Requirement {
    /// The release is live where it comes from.
    Healthy,
    /// An owner has agreed.
    Approval,
}

/// Environments for pull requests.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Previews {
    /// Whether there are any.
    #[schemars(example = true, extend("default" = false))]
    pub enabled: Option<bool>,
    /// The environment that a preview is a copy of.
    #[schemars(example = &"staging")]
    pub base: Option<String>,
    /// Whether only the services that the pull request changes, and those that refer to them, are made anew.
    #[schemars(example = true, extend("default" = true))]
    pub affected_only: Option<bool>,
    /// Labels that the pull request must have.
    #[schemars(example = serde_json::json!(["preview"]), extend("default" = []))]
    pub labels: Option<Vec<String>>,
    /// What happens to pull requests of forks.
    #[schemars(example = &"requireApproval", extend("default" = "requireApproval"))]
    pub forks: Option<Forks>,
    /// Whether pull requests of bots get one.
    #[schemars(example = false, extend("default" = false))]
    pub bots: Option<bool>,
    /// Whether drafts get one.
    #[schemars(example = false, extend("default" = false))]
    pub drafts: Option<bool>,
    /// How long after the last push it is removed.
    #[schemars(example = &"72h", extend("default" = "72h"))]
    pub expire_after: Option<Period>,
    /// How long without a request before it sleeps.
    #[schemars(example = &"30m")]
    pub sleep_after: Option<Period>,
    /// How many there may be at once.
    #[schemars(example = 10, range(min = 1, max = 1000), extend("default" = 10))]
    pub max_concurrent: Option<u32>,
    /// The host of a service of a preview.
    #[schemars(example = &"{service}-{environment}.shop-previews.example.net", length(max = 253))]
    pub domain: Option<String>,
    /// How the pull request is told.
    #[schemars(example = &"sticky", extend("default" = "sticky"))]
    pub comment: Option<Comment>,
    /// Who may look at it.
    #[schemars(example = &"team")]
    pub access: Option<String>,
    /// What stands in for add-ons that are no part of the cluster.
    #[schemars(example = serde_json::json!({"db": {"class": "inCluster"}}))]
    pub addons: Option<BTreeMap<String, Value>>,
}

/// What happens to pull requests of forks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Forks {
    /// Nothing is fetched or built until somebody with write permission has approved the head.
    RequireApproval,
    /// They never get a preview.
    Never,
}

/// How a pull request is told about its preview.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Comment {
    /// One comment that is kept up to date.
    Sticky,
    /// By check runs only.
    None,
}
