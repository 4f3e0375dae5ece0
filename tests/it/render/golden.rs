//! What the built-in templates make, as a person reads it.

use branchline::render::Manifest;
use branchline::render::policy::{self, Rules};
use branchline::yaml;
use serde_json::{Value, json};

use super::{api, made};

/// The values of a service with nothing in it but what it must say.
fn least(kind: &str) -> Value {
    json!({
        "project": {"name": "shop"},
        "environment": {"name": "staging"},
        "namespace": "shop-staging",
        "name": "web",
        "image": "shop/web@sha256:7d1a000000000000000000000000000000000000000000000000000000000000",
        "service": {"name": "web", "type": kind},
    })
}

fn cron() -> Value {
    let mut values = api();
    values["params"] = json!({"activeDeadlineSeconds": 3600});
    values["service"] = json!({
        "name": "nightly-report", "type": "cron", "schedule": "0 3 * * *", "timeZone": "Europe/Berlin", "command": ["report"],
    });
    values
}

fn static_site() -> Value {
    let mut values = least("static");
    values["ingresses"] = json!([{"host": "web-shop-staging.localhost"}]);
    values["runtime"] = json!("process");
    values["service"]["static"] = json!({"spaFallback": true, "notFound": "404.html"});
    values["service"]["healthCheck"] = json!({"path": "/", "initialDelay": 0, "interval": 1});
    values["secretsVersion"] = json!("0b1c/17");
    values
}

fn text(manifests: &[Manifest]) -> String {
    let document = |m: &Manifest| format!("# {}\n{}", m.place(), yaml::write(m.object()));
    manifests.iter().map(document).collect::<Vec<_>>().join("---\n")
}

fn sets() -> Vec<(&'static str, &'static str, Value)> {
    let mut worker = api();
    worker["params"] = json!({});
    worker["service"]["autoscaling"] = Value::Null;
    worker["service"]["ports"] = json!([]);
    let mut job = cron();
    job["service"] = json!({"name": "seed", "type": "job", "args": ["--all"]});
    vec![
        ("web", "web with everything", api()),
        ("web", "web with the least", least("web")),
        ("private", "private", least("private")),
        ("worker", "worker with volumes", worker),
        ("worker", "worker with the least", least("worker")),
        ("cron", "cron", cron()),
        ("job", "job", job),
        ("static", "static on the process runtime", static_site()),
        ("namespace", "namespace", least("web")),
    ]
}

#[test]
fn the_built_in_templates_make_what_stands_in_the_snapshots() {
    for (template, name, values) in sets() {
        insta::assert_snapshot!(name.replace(' ', "_"), text(&made(template, &values)));
    }
}

#[test]
fn what_the_built_in_templates_make_passes_the_policy() {
    for (template, name, values) in sets() {
        let mut rules = Rules::new(values["namespace"].as_str().expect("a namespace"));
        rules.hosts = ["api.shop.example.com", "web-shop-staging.localhost"].map(str::to_owned).into();
        rules.own_namespace = template == "namespace";
        assert_eq!(policy::check(&made(template, &values), &rules), [], "{name}");
    }
}

#[test]
fn autoscaling_takes_the_replicas_out_of_the_deployment() {
    let replicas = |values: &Value| {
        let made = made("web", values);
        made.iter()
            .find(|m| m.kind() == "Deployment")
            .and_then(|m| m.object()["spec"].get("replicas").cloned())
    };
    assert_eq!(replicas(&api()), None);
    let mut values = api();
    values["service"]["autoscaling"] = Value::Null;
    assert_eq!(replicas(&values), Some(json!(3)));
}
