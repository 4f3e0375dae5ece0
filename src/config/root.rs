//! `kind: Config`, `kind: Cluster` and `kind: Addon`: what holds for the whole repository, and where things run.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::service::ServiceSpec;

/// What holds for the whole config repository.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ConfigSpec {
    /// Hosts that services are given.
    #[schemars(example = serde_json::json!({"base": "apps.example.com"}))]
    pub domains: Option<Domains>,
    /// What may be applied.
    #[schemars(example = serde_json::json!({"maxDeletePercent": 30}))]
    pub policy: Option<Policy>,
    /// What all services begin with.
    #[schemars(example = serde_json::json!({"service": {"replicas": 3}}))]
    pub defaults: Option<Defaults>,
    /// The fields that `.branchline/service.yaml` of an app repository may set.
    #[schemars(
        example = serde_json::json!(["build", "command", "healthCheck"]),
        extend("default" = ["build", "command", "args", "ports", "healthCheck", "hooks"])
    )]
    pub app_repo_fields: Option<Vec<String>>,
    /// Where images are kept, and how registries are reached.
    #[schemars(example = serde_json::json!({"type": "oci", "url": "registry:5000/acme"}))]
    pub registry: Option<RegistrySpec>,
    /// Engines that build images.
    #[schemars(example = serde_json::json!(["unix:///var/run/docker.sock"]))]
    pub builders: Option<Vec<Value>>,
    /// Where secrets come from.
    #[schemars(example = serde_json::json!({"provider": "kubernetes"}))]
    pub secrets: Option<Value>,
    /// Templates of another repository.
    #[schemars(example = serde_json::json!([{"repo": "github.com/acme/templates", "ref": "v3"}]))]
    pub templates: Option<Vec<Value>>,
    /// How much a project may use.
    #[schemars(example = serde_json::json!({"services": 50}))]
    pub quotas: Option<Value>,
    /// Who may do what, by team.
    #[schemars(example = serde_json::json!([{"team": "acme/ops", "role": "admin"}]))]
    pub access: Option<Vec<Value>>,
    /// Who is told of what.
    #[schemars(example = serde_json::json!([{"slack": "#deploys", "on": ["failed"]}]))]
    pub notifications: Option<Vec<Value>>,
}

/// Hosts that services are given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Domains {
    /// The domain under which all hosts stand.
    #[schemars(example = &"apps.example.com", extend("default" = "localhost"), length(min = 1, max = 200))]
    pub base: Option<String>,
    /// How a host is made of `{service}`, `{project}`, `{environment}` and `{base}`.
    #[schemars(
        example = &"{service}-{project}-{environment}.{base}",
        extend("default" = "{service}-{project}-{environment}.{base}"),
        length(min = 1, max = 253)
    )]
    pub pattern: Option<String>,
}

/// Where images are kept, and how registries are reached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RegistrySpec {
    /// What kind of registry images are pushed to.
    #[serde(rename = "type")]
    #[schemars(example = &"oci")]
    pub kind: Option<RegistryType>,
    /// The registry and the beginning of its repositories' names.
    #[schemars(example = &"registry:5000/acme", length(min = 1, max = 300))]
    pub url: Option<String>,
    /// The region of a registry on AWS.
    #[schemars(example = &"eu-central-1")]
    pub region: Option<String>,
    /// The account of a registry on AWS.
    #[schemars(example = &"111122223333")]
    pub account: Option<String>,
    /// Whether repositories are made where they are missing.
    #[schemars(example = true, extend("default" = false))]
    pub create_repositories: Option<bool>,
    /// A registry that base images are taken from.
    #[schemars(example = &"mirror.example.com")]
    pub mirror: Option<String>,
    /// Registries, as `host` or `host:port`, that are asked over plain HTTP. One on the server's own machine always is.
    #[schemars(example = serde_json::json!(["registry:5000"]), length(max = 50), extend("default" = []))]
    pub insecure: Option<Vec<String>>,
    /// The secret that nodes pull with.
    #[schemars(example = &"registry-login")]
    pub pull_secret: Option<String>,
    /// The image that static sites are put into.
    #[schemars(example = &"registry:5000/acme/static:1")]
    pub static_base: Option<String>,
}

/// What kind of registry it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RegistryType {
    /// Any that speaks the OCI distribution specification.
    Oci,
    /// Amazon ECR.
    Ecr,
}

/// What may be applied.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Policy {
    /// Whether every container must have limits.
    #[schemars(example = true, extend("default" = false))]
    pub require_resource_limits: Option<bool>,
    /// The registries that images may come from, with `*` for any characters. Empty: any.
    #[schemars(example = serde_json::json!(["ghcr.io/acme/*"]), extend("default" = []))]
    pub allowed_registries: Option<Vec<String>>,
    /// The share of an environment's services above which a removal is held until somebody agrees.
    #[schemars(example = 30, range(min = 1, max = 100), extend("default" = 30))]
    pub max_delete_percent: Option<u32>,
}

/// What the services of a project, or all of them, begin with.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Defaults {
    /// Fields of a service.
    #[schemars(example = serde_json::json!({"replicas": 3}))]
    pub service: Option<ServiceSpec>,
}

/// A cluster that environments run on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterSpec {
    /// How it is reached.
    #[serde(rename = "type")]
    #[schemars(example = &"embedded")]
    pub kind: ClusterType,
    /// A cluster on AWS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = serde_json::json!({"name": "platform", "region": "eu-central-1"}))]
    pub eks: Option<Value>,
    /// A cluster by its kubeconfig; without `secret` it is the file that the server was started with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = serde_json::json!({"context": "prod"}))]
    pub kubeconfig: Option<KubeconfigSpec>,
}

/// How a cluster is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ClusterType {
    /// The one inside Branchline, for one machine.
    Embedded,
    /// The one that Branchline runs in.
    InCluster,
    /// Amazon EKS.
    Eks,
    /// By a kubeconfig.
    Kubeconfig,
}

/// A cluster by its kubeconfig.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct KubeconfigSpec {
    /// The context of the file; by default its current one.
    #[schemars(example = &"prod", length(min = 1, max = 253))]
    pub context: Option<String>,
    /// The secret that holds the file.
    #[schemars(example = &"prod-kubeconfig", length(min = 1, max = 253))]
    pub secret: Option<String>,
}

/// Something that services need and that is not theirs: a database, a cache.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AddonSpec {
    /// What it is.
    #[serde(rename = "type")]
    #[schemars(example = &"postgres")]
    pub kind: AddonType,
    /// Where it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"inCluster", extend("default" = "inCluster"))]
    pub class: Option<AddonClass>,
    /// What it is made with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = serde_json::json!({"version": "15", "storage": "10Gi"}))]
    pub params: Option<BTreeMap<String, Value>>,
    /// What happens to its data when it is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"Retain", extend("default" = "Retain"))]
    pub deletion_policy: Option<DeletionPolicy>,
}

/// What an add-on is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum AddonType {
    /// `PostgreSQL`.
    Postgres,
    /// Redis.
    Redis,
    /// Something that is there already.
    External,
}

/// Where an add-on runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum AddonClass {
    /// Beside the services.
    InCluster,
    /// Elsewhere.
    External,
}

/// What happens to the data of an add-on when it is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// It is kept.
    Retain,
    /// It goes too.
    Delete,
}
