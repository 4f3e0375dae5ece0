//! `kind: Service`: what runs, where it comes from and how it is watched.
//!
//! Every field is optional, because a service is the sum of layers (see [`super::merge`]); what the sum must hold is
//! checked when the layers are merged. The comments here are the descriptions in `schema/v1/service.json`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::value::{CountOrPercent, Period, Quantity, Variables, variables};

/// A service of a project, or a patch of one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ServiceSpec {
    /// One sentence for people.
    #[schemars(example = &"The public API", length(max = 500))]
    pub description: Option<String>,
    /// What kind of thing runs.
    #[serde(rename = "type")]
    #[schemars(example = &"web")]
    pub kind: Option<ServiceType>,
    /// The template that makes the manifests; by default the one named like the type.
    #[schemars(example = serde_json::json!({"name": "web", "params": {"ingressClass": "alb"}}))]
    pub template: Option<TemplateChoice>,
    /// The app repository.
    #[schemars(example = serde_json::json!({"repo": "github.com/acme/shop", "path": "services/api"}))]
    pub source: Option<SourceSpec>,
    /// An image that exists already. With `source`, nothing is built and the source gives the revision.
    #[schemars(example = &"ghcr.io/acme/report:1.4.2", length(min = 1, max = 512))]
    pub image: Option<String>,
    /// How the source becomes an artifact.
    #[schemars(example = serde_json::json!({"command": "npm run build"}))]
    pub build: Option<BuildSpec>,
    /// When a new revision is deployed by itself.
    #[schemars(example = &"commit", extend("default" = "commit"))]
    pub auto_deploy: Option<AutoDeploy>,
    /// The command that starts the service, a word an item.
    #[schemars(example = serde_json::json!(["npm", "start"]), length(min = 1, max = 100))]
    pub command: Option<Vec<String>>,
    /// Words after the command.
    #[schemars(example = serde_json::json!(["--verbose"]), length(max = 100))]
    pub args: Option<Vec<String>>,
    /// The ports that it listens on. The first one is what the Service forwards to.
    #[schemars(example = serde_json::json!([{"name": "http", "port": 3000}]), length(max = 20))]
    pub ports: Option<Vec<Port>>,
    /// Its environment. Values may hold references.
    #[schemars(example = serde_json::json!({"LOG_LEVEL": "info"}), schema_with = "variables")]
    pub env: Option<Variables>,
    /// How many run, where nothing scales them.
    #[schemars(example = 3, range(min = 0, max = 1000), extend("default" = 1))]
    pub replicas: Option<u32>,
    /// What each of them asks for and may use.
    #[schemars(example = serde_json::json!({"requests": {"cpu": "200m"}, "limits": {"memory": "512Mi"}}))]
    pub resources: Option<Resources>,
    /// Scales between two counts by load.
    #[schemars(example = serde_json::json!({"minReplicas": 3, "maxReplicas": 10}))]
    pub autoscaling: Option<Autoscaling>,
    /// How many must stay up while nodes are drained.
    #[schemars(example = serde_json::json!({"minAvailable": 2}))]
    pub disruption: Option<Disruption>,
    /// How one sees over HTTP that it is well.
    #[schemars(example = serde_json::json!({"path": "/health"}))]
    pub health_check: Option<HealthCheck>,
    /// How a new revision takes the place of the old one.
    #[schemars(example = serde_json::json!({"type": "rolling", "maxSurge": "25%"}))]
    pub strategy: Option<Strategy>,
    /// Hosts under which it is reached, beside the one that it is given.
    #[schemars(example = serde_json::json!([{"host": "api.shop.example.com"}]), length(max = 50))]
    pub domains: Option<Vec<Domain>>,
    /// The time that it has to end when it is asked to.
    #[schemars(example = &"30s", extend("default" = "30s"))]
    pub termination_grace_period: Option<Period>,
    /// When a cron service runs (five fields, crontab(5)).
    #[schemars(example = &"0 3 * * *", length(max = 100))]
    pub schedule: Option<String>,
    /// The time zone of the schedule (IANA).
    #[schemars(example = &"Europe/Berlin", extend("default" = "Etc/UTC"))]
    pub time_zone: Option<String>,
    /// What happens when a run is due while one runs.
    #[schemars(example = &"Forbid", extend("default" = "Forbid"))]
    pub concurrency_policy: Option<ConcurrencyPolicy>,
    /// How a static site answers.
    #[serde(rename = "static")]
    #[schemars(example = serde_json::json!({"spaFallback": true}))]
    pub static_site: Option<StaticSite>,
    /// Disks that outlive a restart.
    #[schemars(example = serde_json::json!([{"name": "uploads", "mountPath": "/app/uploads", "size": "5Gi"}]))]
    pub volumes: Option<Vec<Value>>,
    /// What runs before and after a deployment.
    #[schemars(example = serde_json::json!({"preDeploy": [{"name": "migrate", "command": ["npm", "run", "migrate"]}]}))]
    pub hooks: Option<Value>,
    /// What must be there before it starts.
    #[schemars(example = serde_json::json!([{"name": "db", "condition": "healthy"}]))]
    pub depends_on: Option<Vec<Value>>,
    /// Which nodes it may run on.
    #[schemars(example = serde_json::json!({"kubernetes.io/arch": "arm64"}))]
    pub node_selector: Option<BTreeMap<String, String>>,
    /// Which taints of nodes it bears.
    #[schemars(example = serde_json::json!([{"key": "workload", "operator": "Exists"}]))]
    pub tolerations: Option<Vec<Value>>,
    /// Containers beside it (Kubernetes form).
    #[schemars(example = serde_json::json!([{"name": "proxy", "image": "envoy:v1"}]))]
    pub sidecars: Option<Vec<Value>>,
    /// Containers that run before it (Kubernetes form).
    #[schemars(example = serde_json::json!([{"name": "wait", "image": "busybox:1"}]))]
    pub init_containers: Option<Vec<Value>>,
    /// Probes in their full Kubernetes form, in place of `healthCheck`.
    #[schemars(example = serde_json::json!({"liveness": {"tcpSocket": {"port": 3000}}}))]
    pub probes: Option<Value>,
    /// Health in CEL, for kinds that have none of their own.
    #[schemars(example = serde_json::json!({"current": "status.phase == 'Ready'"}))]
    pub health: Option<Value>,
    /// What it may do on AWS.
    #[schemars(example = serde_json::json!({"roleArn": "arn:aws:iam::111122223333:role/api"}))]
    pub aws: Option<Value>,
    /// Ports that are reached over TCP from outside.
    #[schemars(example = serde_json::json!([{"port": 5432}]))]
    pub tcp: Option<Vec<Value>>,
}

/// What kind of thing a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ServiceType {
    /// Answers HTTP, also from outside.
    Web,
    /// Answers inside the environment only.
    Private,
    /// Runs without being asked.
    Worker,
    /// Runs on a schedule.
    Cron,
    /// Runs once per revision.
    Job,
    /// Files that are served.
    Static,
}

impl ServiceType {
    /// The word in the config repository; also the name of the built-in template.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Web => "web",
            Self::Private => "private",
            Self::Worker => "worker",
            Self::Cron => "cron",
            Self::Job => "job",
            Self::Static => "static",
        }
    }

    /// Whether something listens on a port.
    #[must_use]
    pub fn listens(self) -> bool {
        matches!(self, Self::Web | Self::Private | Self::Static)
    }

    /// Whether it is reached from outside under a host.
    #[must_use]
    pub fn is_public(self) -> bool {
        matches!(self, Self::Web | Self::Static)
    }
}

/// Which template makes the manifests, and its parameters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TemplateChoice {
    /// The folder under `templates/`, or a built-in template.
    #[schemars(example = &"web", length(max = 63))]
    pub name: Option<String>,
    /// What the template asks for, as its `template.yaml` declares it.
    #[schemars(example = serde_json::json!({"ingressClass": "alb"}))]
    pub params: Option<BTreeMap<String, Value>>,
}

/// An app repository, and the part of it that is this service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SourceSpec {
    /// `github.com/owner/name`, `owner/name`, an https URL, or `../name.git` beside the config repository.
    #[schemars(example = &"github.com/acme/shop", length(min = 1, max = 500))]
    pub repo: Option<String>,
    /// The branch that is deployed.
    #[schemars(example = &"main", extend("default" = "main"), length(min = 1, max = 100))]
    pub branch: Option<String>,
    /// The folder of the service in the repository.
    #[schemars(example = &"services/api", extend("default" = ""), length(max = 500))]
    pub path: Option<String>,
}

/// How a source becomes an artifact.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct BuildSpec {
    /// Who makes the artifact.
    #[schemars(example = &"auto", extend("default" = "auto"))]
    pub builder: Option<Builder>,
    /// The shell command that builds it, run in the folder of the service.
    #[schemars(example = &"npm run build", length(min = 1, max = 1000))]
    pub command: Option<String>,
    /// The variables of the build. They may refer to `git.*` only.
    #[schemars(example = serde_json::json!({"NODE_ENV": "production"}))]
    pub args: Option<BTreeMap<String, String>>,
    /// The folder that the build sees; by default `source.path`.
    #[schemars(example = &".", length(max = 500))]
    pub context: Option<String>,
    /// The paths of the repository whose change builds anew; by default the folder of the service.
    #[schemars(example = serde_json::json!(["services/api/**", "libs/**"]), length(max = 100))]
    pub paths: Option<Vec<String>>,
    /// The paths whose change does not.
    #[schemars(example = serde_json::json!(["**/*.md"]), length(max = 100))]
    pub ignored_paths: Option<Vec<String>>,
    /// Another service of the project whose artifact this one runs.
    #[schemars(example = &"api")]
    pub from: Option<String>,
    /// The Dockerfile, from the context.
    #[schemars(example = &"Dockerfile", length(max = 500))]
    pub dockerfile: Option<String>,
    /// The stage of the Dockerfile.
    #[schemars(example = &"runtime", length(max = 100))]
    pub target: Option<String>,
    /// The platforms of the image.
    #[schemars(example = serde_json::json!(["linux/arm64"]))]
    pub platforms: Option<Vec<String>>,
    /// Secrets that the build may mount.
    #[schemars(example = serde_json::json!(["npm-token"]))]
    pub secrets: Option<Vec<String>>,
    /// Where layers are kept between builds.
    #[schemars(example = serde_json::json!({"registry": true}))]
    pub cache: Option<Value>,
}

/// Who makes the artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Builder {
    /// The Dockerfile if there is one, otherwise what the files of the repository tell.
    Auto,
    /// The Dockerfile of the repository.
    Dockerfile,
    /// Nothing is built: the files are the artifact.
    None,
}

/// When a new revision is deployed by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum AutoDeploy {
    /// As soon as it is pushed.
    Commit,
    /// When the checks of the commit have passed.
    ChecksPass,
    /// Only when somebody asks for it.
    Off,
}

/// A port that a service listens on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Port {
    /// Its name, by which probes refer to it.
    #[schemars(example = &"http", regex(pattern = "^[a-z]([a-z0-9-]{0,13}[a-z0-9])?$"))]
    pub name: String,
    /// The number; the service finds it in `PORT`.
    #[schemars(example = 3000, range(min = 1, max = 65535))]
    pub port: u16,
}

/// What a container asks for and may use (Kubernetes form).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Resources {
    /// What is set aside for it.
    #[schemars(example = serde_json::json!({"cpu": "200m", "memory": "256Mi"}))]
    pub requests: Option<Amounts>,
    /// What it may not pass.
    #[schemars(example = serde_json::json!({"cpu": "500m", "memory": "512Mi"}))]
    pub limits: Option<Amounts>,
}

/// Amounts of the resources of a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Amounts {
    /// Processor time, in cores or `m` for thousandths.
    #[schemars(example = &"200m")]
    pub cpu: Option<Quantity>,
    /// Memory.
    #[schemars(example = &"256Mi")]
    pub memory: Option<Quantity>,
}

/// Scales between two counts by load (Kubernetes HorizontalPodAutoscaler).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Autoscaling {
    /// The fewest that run.
    #[schemars(example = 3, range(min = 1, max = 1000), extend("default" = 1))]
    pub min_replicas: Option<u32>,
    /// The most that run.
    #[schemars(example = 10, range(min = 1, max = 1000))]
    pub max_replicas: Option<u32>,
    /// The share of the requested processor time at which more are started.
    #[serde(rename = "targetCPUUtilizationPercentage")]
    #[schemars(example = 70, range(min = 1, max = 1000), extend("default" = 70))]
    pub target_cpu: Option<u32>,
    /// The share of the requested memory at which more are started.
    #[serde(rename = "targetMemoryUtilizationPercentage")]
    #[schemars(example = 80, range(min = 1, max = 1000))]
    pub target_memory: Option<u32>,
}

/// How many must stay up while nodes are drained (Kubernetes PodDisruptionBudget).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Disruption {
    /// How many must stay up.
    #[schemars(example = 2)]
    pub min_available: Option<CountOrPercent>,
    /// How many may be down.
    #[schemars(example = &"25%")]
    pub max_unavailable: Option<CountOrPercent>,
}

/// How one sees over HTTP that a service is well.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HealthCheck {
    /// The path that answers 200 to 399.
    #[schemars(example = &"/health", regex(pattern = "^/"), length(max = 500))]
    pub path: Option<String>,
    /// The name of the port; by default the first one.
    #[schemars(example = &"http")]
    pub port: Option<String>,
    /// The time before the first question.
    #[schemars(example = &"0s", extend("default" = "0s"))]
    pub initial_delay: Option<Period>,
    /// The time between questions.
    #[schemars(example = &"5s", extend("default" = "5s"))]
    pub interval: Option<Period>,
    /// The time an answer may take.
    #[schemars(example = &"3s", extend("default" = "3s"))]
    pub timeout: Option<Period>,
    /// How many failures in a row make it unwell.
    #[schemars(example = 3, range(min = 1, max = 100), extend("default" = 3))]
    pub failure_threshold: Option<u32>,
}

/// How a new revision takes the place of the old one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Strategy {
    /// In which manner.
    #[serde(rename = "type")]
    #[schemars(example = &"rolling", extend("default" = "rolling"))]
    pub kind: Option<StrategyType>,
    /// How many may run beyond the wanted count.
    #[schemars(example = &"25%", extend("default" = "25%"))]
    pub max_surge: Option<CountOrPercent>,
    /// How many of the wanted count may be missing.
    #[schemars(example = 0, extend("default" = 0))]
    pub max_unavailable: Option<CountOrPercent>,
    /// The time without progress after which the rollout has failed.
    #[schemars(example = &"10m", extend("default" = "10m"))]
    pub progress_deadline: Option<Period>,
    /// Whether a failed rollout puts the previous release back.
    #[schemars(example = true)]
    pub auto_rollback: Option<bool>,
}

/// The manner of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum StrategyType {
    /// New ones are started before old ones end.
    Rolling,
    /// All old ones end before new ones start.
    Recreate,
    /// A few new ones first, then more by steps.
    Canary,
    /// All new ones beside the old, then all requests at once.
    BlueGreen,
}

/// A host under which a service is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Domain {
    /// The host.
    #[schemars(example = &"api.shop.example.com", length(min = 1, max = 253))]
    pub host: String,
    /// The beginning of the paths that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"/", extend("default" = "/"), regex(pattern = "^/"))]
    pub path: Option<String>,
    /// Where the certificate comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = serde_json::json!({"issuer": "letsencrypt"}))]
    pub tls: Option<DomainTls>,
}

/// Where the certificate of a domain comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DomainTls {
    /// The issuer of cert-manager.
    #[schemars(example = &"letsencrypt", length(min = 1, max = 253))]
    pub issuer: String,
}

/// What happens when a run is due while one runs (Kubernetes CronJob).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConcurrencyPolicy {
    /// Both run.
    Allow,
    /// The new one is left out.
    Forbid,
    /// The old one is ended.
    Replace,
}

/// How a static site answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct StaticSite {
    /// The folder that is served, from the folder of the service.
    #[schemars(example = &"dist", extend("default" = "."), length(max = 500))]
    pub root: Option<String>,
    /// Whether an unknown path is answered with `index.html`.
    #[schemars(example = true, extend("default" = false))]
    pub spa_fallback: Option<bool>,
    /// The page of an unknown path.
    #[schemars(example = &"404.html", length(max = 500))]
    pub not_found: Option<String>,
    /// Paths that answer with another place.
    #[schemars(example = serde_json::json!([{"from": "/old", "to": "/new"}]))]
    pub redirects: Option<Vec<Value>>,
    /// Headers by path.
    #[schemars(example = serde_json::json!([{"path": "/assets/*", "headers": {"Cache-Control": "max-age=31536000"}}]))]
    pub headers: Option<Vec<Value>>,
}
