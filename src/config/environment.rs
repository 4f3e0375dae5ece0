//! `kind: Environment` and `kind: Releases`: where a project runs, and what is pinned there.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::service::ServiceSpec;
use super::value::{Period, Variables, variables};
use crate::hash::ContentHash;
use crate::name::{Digest, Revision};

/// An environment of a project.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct EnvironmentSpec {
    /// The cluster it runs on; by default the only one of the repository, or the embedded one when there is none.
    #[schemars(example = &"eu-prod")]
    pub cluster: Option<String>,
    /// Its namespace; by default `<project>-<environment>`.
    #[schemars(example = &"shop-production", length(min = 1, max = 63))]
    pub namespace: Option<String>,
    /// Whether changes made by hand need a second word.
    #[schemars(example = true, extend("default" = false))]
    pub protected: Option<bool>,
    /// Whether it runs the heads of branches or what `releases.yaml` pins.
    #[schemars(example = &"releases", extend("default" = "branch"))]
    pub follow: Option<Follow>,
    /// How it is kept in step with Git.
    #[schemars(example = serde_json::json!({"prune": true, "selfHeal": true}))]
    pub sync: Option<Sync>,
    /// Values that every service can refer to as `${{ shared.NAME }}`.
    #[schemars(example = serde_json::json!({"DOMAIN": "shop.example.com"}), schema_with = "variables")]
    pub shared: Option<Variables>,
    /// Patches of services, for this environment only.
    #[schemars(example = serde_json::json!({"api": {"env": {"LOG_LEVEL": "warn"}}}))]
    pub services: Option<BTreeMap<String, ServiceSpec>>,
    /// Patches of add-ons, for this environment only.
    #[schemars(example = serde_json::json!({"db": {"class": "external"}}))]
    pub addons: Option<BTreeMap<String, Value>>,
    /// Times in which nothing is deployed by itself.
    #[schemars(example = serde_json::json!([{"cron": "0 16 * * FRI", "duration": "64h", "reason": "weekend"}]))]
    pub freeze: Option<Vec<Value>>,
    /// Who may do what here, by team.
    #[schemars(example = serde_json::json!([{"team": "acme/ops", "role": "deployer"}]))]
    pub access: Option<Vec<Value>>,
}

/// What an environment runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Follow {
    /// The head of each service's branch.
    Branch,
    /// Only what `releases.yaml` pins.
    Releases,
}

/// How an environment is kept in step with Git.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Sync {
    /// Whether what Git no longer wants is removed.
    #[schemars(example = true, extend("default" = true))]
    pub prune: Option<bool>,
    /// Whether what somebody else changed is put right.
    #[schemars(example = true, extend("default" = true))]
    pub self_heal: Option<bool>,
    /// How often it is looked at without a reason.
    #[schemars(example = &"5m", extend("default" = "5m"))]
    pub interval: Option<Period>,
}

/// What is pinned in an environment, by service. The only file that Branchline writes unasked.
pub type Releases = BTreeMap<String, Release>;

/// The pin of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Release {
    /// The revision of the app repository.
    #[schemars(
        with = "String",
        example = &"3f2c1aa03f2c1aa03f2c1aa03f2c1aa03f2c1aa0",
        regex(pattern = "^[0-9a-f]{40}$")
    )]
    pub revision: Revision,
    /// The image that was built from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", example = &"sha256:7d1…", regex(pattern = "^sha256:[0-9a-f]{64}$"))]
    pub digest: Option<Digest>,
    /// The folder that was built from it, where no image was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", example = &"9c56…", regex(pattern = "^[0-9a-f]{64}$"))]
    pub key: Option<ContentHash>,
    /// The environment that it was promoted from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"staging")]
    pub promoted_from: Option<String>,
    /// Who pinned it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"ana", length(max = 200))]
    pub by: Option<String>,
    /// Whether it holds against the branch, until it is resumed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[schemars(example = true, extend("default" = false))]
    pub hold: bool,
    /// Why it was pinned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"rollback of 4e1a9b2", length(max = 500))]
    pub reason: Option<String>,
}
