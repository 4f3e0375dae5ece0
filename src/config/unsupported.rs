//! Fields whose behaviour is still to come: they end in an error at their line, and are never ignored.

use super::problem::Problem;
use super::schema::Kind;
use crate::yaml::Node;

/// The fields of a service, also where it is patched or has defaults.
const SERVICE: &[(&str, &str)] = &[
    ("volumes", "volumes are"),
    ("hooks", "hooks are"),
    ("dependsOn", "`dependsOn` is"),
    ("nodeSelector", "`nodeSelector` is"),
    ("tolerations", "tolerations are"),
    ("sidecars", "sidecars are"),
    ("initContainers", "init containers are"),
    ("probes", "`probes` is"),
    ("health", "health in CEL is"),
    ("aws", "roles on AWS are"),
    ("tcp", "TCP ports are"),
    ("build/dockerfile", "building images from a Dockerfile is"),
    ("build/target", "building images from a Dockerfile is"),
    ("build/platforms", "building images for platforms is"),
    ("build/secrets", "secrets of builds are"),
    ("build/cache", "build caches are"),
    ("static/redirects", "redirects are"),
    ("static/headers", "headers by path are"),
];

/// The fields of the other kinds.
const OTHERS: &[(Kind, &str, &str)] = &[
    (Kind::Config, "registry/type", "registries to push to are"),
    (Kind::Config, "registry/url", "registries to push to are"),
    (Kind::Config, "registry/region", "registries on AWS are"),
    (Kind::Config, "registry/account", "registries on AWS are"),
    (Kind::Config, "registry/createRepositories", "registries to push to are"),
    (Kind::Config, "registry/mirror", "mirrors of base images are"),
    (Kind::Config, "registry/pullSecret", "pull secrets are"),
    (Kind::Config, "registry/staticBase", "images of static sites are"),
    (Kind::Config, "builders", "build engines are"),
    (Kind::Config, "secrets", "secret providers are"),
    (Kind::Config, "templates", "templates of other repositories are"),
    (Kind::Config, "quotas", "quotas are"),
    (Kind::Config, "access", "roles are"),
    (Kind::Config, "notifications", "notifications are"),
    (Kind::Cluster, "eks", "clusters on EKS are"),
    (Kind::Cluster, "kubeconfig/secret", "kubeconfigs in secrets are"),
    (Kind::Project, "notifications", "notifications are"),
    (Kind::Project, "checksPass", "waiting for checks is"),
    (Kind::Project, "previews/sleepAfter", "sleeping previews are"),
    (Kind::Project, "previews/access", "access to previews is"),
    (Kind::Project, "previews/addons", "add-ons of previews are"),
    (Kind::Environment, "addons", "add-ons are"),
    (Kind::Environment, "freeze", "freeze windows are"),
    (Kind::Environment, "access", "roles are"),
];

/// Values whose behaviour is still to come, though their field has others that work.
const VALUES: &[(&str, &str, &str)] = &[
    ("autoDeploy", "checksPass", "waiting for checks is"),
    ("build/builder", "dockerfile", "building images from a Dockerfile is"),
    ("strategy/type", "canary", "canary rollouts are"),
    ("strategy/type", "blueGreen", "blue/green rollouts are"),
];

/// Everything in a document that is still to come.
pub(super) fn found(kind: Kind, node: &Node) -> Vec<Problem> {
    let mut problems = Vec::new();
    let Some(spec) = node.get("spec") else { return problems };
    for (_, field, what) in OTHERS.iter().filter(|(of, _, _)| *of == kind) {
        problems.extend(set(spec, field).map(|place| not_yet(place, what)));
    }
    match kind {
        Kind::Addon => problems.push(not_yet(node, "add-ons are")),
        Kind::Cluster => problems.extend(value(spec, "type", "eks", "clusters on EKS are")),
        Kind::Service => problems.extend(in_service(spec)),
        Kind::Config | Kind::Project => {
            problems.extend(spec.at("/defaults/service").into_iter().flat_map(in_service))
        }
        Kind::Environment => {
            let patches = spec.get("services").map(Node::entries).unwrap_or_default();
            problems.extend(patches.iter().flat_map(|(_, patch)| in_service(patch)));
        }
        Kind::Releases => {}
    }
    if kind == Kind::Cluster {
        problems.extend(value(spec, "type", "inCluster", "the cluster that Branchline runs in is"));
    }
    if kind == Kind::Project {
        let promotions = spec.get("promotion").map(Node::items).unwrap_or_default();
        problems.extend(promotions.iter().flat_map(in_promotion));
    }
    problems
}

fn in_service(spec: &Node) -> Vec<Problem> {
    let fields =
        SERVICE.iter().filter_map(|(field, what)| set(spec, field).map(|place| not_yet(place, what)));
    let values = VALUES.iter().filter_map(|(field, word, what)| value(spec, field, word, what));
    let mut problems: Vec<_> = fields.chain(values).collect();
    if let Some(flag) = set(spec, "strategy/autoRollback")
        && flag.to_json() == true
    {
        problems.push(not_yet(flag, "automatic rollbacks are"));
    }
    problems
}

fn in_promotion(promotion: &Node) -> Vec<Problem> {
    let requirements = promotion.get("require").map(Node::items).unwrap_or_default();
    let approval = requirements.iter().find(|item| item.as_str() == Some("approval"));
    value(promotion, "mode", "pullRequest", "promotion by pull request is")
        .into_iter()
        .chain(approval.map(|place| not_yet(place, "approvals are")))
        .chain(set(promotion, "soak").map(|place| not_yet(place, "soak times are")))
        .collect()
}

/// The value of a field, where it is set.
fn set<'a>(spec: &'a Node, field: &str) -> Option<&'a Node> {
    spec.at(&format!("/{field}")).filter(|node| !node.is_null())
}

fn value(spec: &Node, field: &str, word: &str, what: &str) -> Option<Problem> {
    set(spec, field).filter(|node| node.as_str() == Some(word)).map(|node| not_yet(node, what))
}

fn not_yet(node: &Node, what: &str) -> Problem {
    Problem::new(node.place.clone(), format!("{what} not supported yet")).hint("leave it out until then")
}
