//! The values that a template is given (`docs/templates.md`), all but the image.

use serde_json::{Map, Value, json};

use super::resolve::Context;
use super::{Runtime, host, number};
use crate::config::service::{ServiceSpec, ServiceType};
use crate::config::value::Period;

/// The values of one service in one environment. `resolved` is the sum of its layers without references.
pub(super) fn of(context: &Context<'_>, resolved: &Value, env: &[Value]) -> Value {
    let (environment, service) = (context.environment, context.service);
    let document = &context.project.services[&service.name];
    let params = resolved.pointer("/template/params").cloned().unwrap_or_else(|| json!({}));
    json!({
        "project": {"name": context.project.name},
        "environment": {
            "name": environment.name,
            "preview": environment.preview.is_some(),
            "number": number(environment),
        },
        "namespace": environment.namespace,
        "name": service.object_name,
        "service": spec(service.kind, &service.effective.spec, resolved, service.name.as_str()),
        "env": env,
        "ingresses": ingresses(context, resolved),
        "params": params,
        "labels": document.labels,
        "annotations": document.annotations.iter().filter(|(key, _)| !key.starts_with("branchline.dev/")).collect::<std::collections::BTreeMap<_, _>>(),
        "runtime": match environment.runtime { Runtime::Process => "process", Runtime::Cluster => "cluster" },
    })
}

/// The spec by its own field names, with periods as whole seconds.
fn spec(kind: ServiceType, spec: &ServiceSpec, resolved: &Value, name: &str) -> Value {
    let mut service = Map::new();
    for field in [
        "replicas",
        "args",
        "ports",
        "resources",
        "autoscaling",
        "disruption",
        "schedule",
        "timeZone",
        "concurrencyPolicy",
        "static",
    ] {
        if let Some(value) = resolved.get(field).filter(|value| !value.is_null()) {
            service.insert(field.to_owned(), value.clone());
        }
    }
    service.insert("name".to_owned(), json!(name));
    service.insert("type".to_owned(), json!(kind.as_str()));
    let seconds = |period: Option<Period>, default: u64| period.map_or(default, Period::seconds);
    if let Some(check) = &spec.health_check {
        service.insert(
            "healthCheck".to_owned(),
            json!({
                "path": resolved.pointer("/healthCheck/path"),
                "port": resolved.pointer("/healthCheck/port").cloned().or_else(|| Some(json!(spec.ports.as_ref()?.first()?.name))),
                "initialDelay": seconds(check.initial_delay, 0),
                "interval": seconds(check.interval, 5).max(1),
                "timeout": seconds(check.timeout, 3).max(1),
                "failureThreshold": check.failure_threshold.unwrap_or(3),
            }),
        );
    }
    if let Some(scaling) = service.get_mut("autoscaling").and_then(Value::as_object_mut) {
        scaling.entry("minReplicas").or_insert(json!(1));
        if !scaling.contains_key("targetMemoryUtilizationPercentage") {
            scaling.entry("targetCPUUtilizationPercentage").or_insert(json!(70));
        }
    }
    let strategy = spec.strategy.clone().unwrap_or_default();
    service.insert(
        "strategy".to_owned(),
        json!({
            "type": strategy.kind.map_or(json!("rolling"), |kind| json!(kind)),
            "maxSurge": strategy.max_surge.map_or(json!("25%"), |surge| json!(surge)),
            "maxUnavailable": strategy.max_unavailable.map_or(json!(0), |missing| json!(missing)),
            "progressDeadline": seconds(strategy.progress_deadline, 600),
        }),
    );
    service.insert(
        "terminationGracePeriodSeconds".to_owned(),
        json!(seconds(spec.termination_grace_period, 30)),
    );
    service.insert("command".to_owned(), command(kind, resolved));
    Value::Object(service)
}

/// The command; a static site is served by Branchline itself, unless it brings a command of its own.
fn command(kind: ServiceType, resolved: &Value) -> Value {
    match resolved.get("command") {
        Some(command) => command.clone(),
        None if kind == ServiceType::Static => {
            let site = resolved.get("static").cloned().unwrap_or_default();
            let mut words = vec![
                json!("branchline"),
                json!("serve-static"),
                site.get("root").cloned().unwrap_or(json!(".")),
            ];
            if site.get("spaFallback") == Some(&json!(true)) {
                words.push(json!("--spa-fallback"));
            }
            if let Some(page) = site.get("notFound").and_then(Value::as_str) {
                words.push(json!(format!("--not-found={page}")));
            }
            Value::Array(words)
        }
        None => json!([]),
    }
}

fn ingresses(context: &Context<'_>, resolved: &Value) -> Vec<Value> {
    let service = context.service;
    let Some(given) = service.hosts.first() else { return Vec::new() };
    let mut all = vec![json!({"host": given, "path": "/", "tls": null})];
    if host::owns_domains(context.project, context.environment, &service.effective) {
        for domain in resolved.get("domains").and_then(Value::as_array).into_iter().flatten() {
            let host = domain["host"].as_str().unwrap_or_default().to_lowercase();
            all.push(json!({"host": host, "path": domain.get("path").unwrap_or(&json!("/")), "tls": domain.get("tls")}));
        }
    }
    all
}
