//! Deployments, ReplicaSets, autoscalers and disruption budgets.

use super::{Cause, immutable, list, meta, not_negative, pod, text};
use crate::embedded::select::selects;
use serde_json::{Value, json};

/// Problems of a Deployment.
pub(super) fn deployment(object: &Value, live: Option<&Value>) -> Vec<Cause> {
    let spec = &object["spec"];
    let mut causes: Vec<Cause> = not_negative(spec, "replicas", "spec").into_iter().collect();
    causes.extend(selector_and_template(spec, "deployment"));
    causes.extend(strategy(&spec["strategy"]));
    causes.extend(not_negative(spec, "minReadySeconds", "spec"));
    causes.extend(not_negative(spec, "revisionHistoryLimit", "spec"));
    causes.extend(not_negative(spec, "progressDeadlineSeconds", "spec"));
    let deadline = spec["progressDeadlineSeconds"].as_i64().unwrap_or(600);
    if deadline <= spec["minReadySeconds"].as_i64().unwrap_or(0) {
        let why = "must be greater than minReadySeconds";
        causes.push(Cause::invalid("spec.progressDeadlineSeconds", &spec["progressDeadlineSeconds"], why));
    }
    causes.extend(
        live.and_then(|live| immutable(&spec["selector"], &live["spec"]["selector"], "spec.selector")),
    );
    causes
}

/// Problems of a ReplicaSet.
pub(super) fn replica_set(object: &Value, live: Option<&Value>) -> Vec<Cause> {
    let spec = &object["spec"];
    let mut causes: Vec<Cause> = not_negative(spec, "replicas", "spec").into_iter().collect();
    causes.extend(not_negative(spec, "minReadySeconds", "spec"));
    causes.extend(selector_and_template(spec, "deployment"));
    causes.extend(
        live.and_then(|live| immutable(&spec["selector"], &live["spec"]["selector"], "spec.selector")),
    );
    causes
}

fn selector_and_template(spec: &Value, noun: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let selector = &spec["selector"];
    if selector.is_null() {
        causes.push(Cause::required("spec.selector", ""));
    } else {
        let problems = self::selector(selector, "spec.selector");
        if !problems.is_empty() {
            causes.extend(problems);
            causes.push(Cause::invalid("spec.selector", selector, "invalid label selector"));
            return causes;
        }
        if selector.as_object().is_some_and(serde_json::Map::is_empty) {
            let why = format!("empty selector is invalid for {noun}");
            causes.push(Cause::invalid("spec.selector", selector, why));
        }
    }
    let template = &spec["template"];
    let labels = &template["metadata"]["labels"];
    if selector.is_null() || !selects(selector, labels) {
        let why = "`selector` does not match template `labels`";
        causes.push(Cause::invalid("spec.template.metadata.labels", labels, why));
    }
    causes.extend(pod::template(template, "spec.template"));
    if template["spec"]["restartPolicy"] != "Always" {
        let field = "spec.template.spec.restartPolicy";
        causes.push(Cause::unsupported(field, &template["spec"]["restartPolicy"], &["Always"]));
    }
    if !template["spec"]["activeDeadlineSeconds"].is_null() {
        let why = "activeDeadlineSeconds in ReplicaSet is not Supported";
        causes.push(Cause::forbidden("spec.template.spec.activeDeadlineSeconds", why));
    }
    causes
}

/// Problems of a `LabelSelector`.
pub(super) fn selector(selector: &Value, at: &str) -> Vec<Cause> {
    let mut causes = meta::labels(&selector["matchLabels"], &format!("{at}.matchLabels"));
    for (position, one) in list(selector, "matchExpressions").iter().enumerate() {
        let at = format!("{at}.matchExpressions[{position}]");
        let empty = list(one, "values").is_empty();
        match text(one, "operator") {
            "In" | "NotIn" if empty => {
                let why = "must be specified when `operator` is 'In' or 'NotIn'";
                causes.push(Cause::required(format!("{at}.values"), why));
            }
            "Exists" | "DoesNotExist" if !empty => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                causes.push(Cause::forbidden(format!("{at}.values"), why));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => {
                let why = "not a valid selector operator";
                causes.push(Cause::invalid(format!("{at}.operator"), &one["operator"], why));
            }
        }
        for problem in super::names::qualified_name(text(one, "key")) {
            causes.push(Cause::invalid(format!("{at}.key"), &one["key"], problem));
        }
    }
    causes
}

fn strategy(strategy: &Value) -> Vec<Cause> {
    const AT: &str = "spec.strategy.rollingUpdate";
    let rolling = strategy.get("rollingUpdate");
    match (text(strategy, "type"), rolling) {
        ("Recreate", Some(_)) => {
            vec![Cause::forbidden(AT, "may not be specified when strategy `type` is 'Recreate'")]
        }
        ("Recreate", None) => Vec::new(),
        ("RollingUpdate", Some(rolling)) => {
            let (unavailable, surge) = (&rolling["maxUnavailable"], &rolling["maxSurge"]);
            let mut causes = int_or_percent(unavailable, &format!("{AT}.maxUnavailable"));
            causes.extend(int_or_percent(surge, &format!("{AT}.maxSurge")));
            if is_zero(unavailable) && is_zero(surge) {
                let why = "may not be 0 when `maxSurge` is 0";
                causes.push(Cause::invalid(format!("{AT}.maxUnavailable"), unavailable, why));
            }
            if percent(unavailable).is_some_and(|percent| percent > 100) {
                causes.push(Cause::invalid(
                    format!("{AT}.maxUnavailable"),
                    unavailable,
                    "must not be greater than 100%",
                ));
            }
            causes
        }
        _ => {
            // the server prints its own struct here
            let told = json!({"Type": strategy["type"], "RollingUpdate": rolling});
            vec![Cause::unsupported("spec.strategy", &told, &["Recreate", "RollingUpdate"])]
        }
    }
}

fn percent(value: &Value) -> Option<i64> {
    value.as_str()?.strip_suffix('%')?.parse().ok()
}

fn is_zero(value: &Value) -> bool {
    value.as_i64() == Some(0) || percent(value) == Some(0)
}

/// Problems of a number or a percentage that may not be negative.
pub(super) fn int_or_percent(value: &Value, at: &str) -> Vec<Cause> {
    match value {
        Value::Number(number) if number.as_i64().is_some_and(|number| number < 0) => {
            vec![Cause::invalid(at, value, "must be greater than or equal to 0")]
        }
        Value::String(_) if percent(value).is_none_or(|percent| percent < 0) => {
            let why = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or \
                '93%', regex used for validation is '[0-9]+%')";
            vec![Cause::invalid(at, value, why)]
        }
        _ => Vec::new(),
    }
}

/// Problems of a HorizontalPodAutoscaler.
pub(super) fn autoscaler(object: &Value) -> Vec<Cause> {
    let spec = &object["spec"];
    let mut causes = Vec::new();
    let (least, most) = (spec["minReplicas"].as_i64(), spec["maxReplicas"].as_i64().unwrap_or(0));
    if least.is_some_and(|least| least < 1) {
        causes.push(Cause::invalid(
            "spec.minReplicas",
            &spec["minReplicas"],
            "must be greater than or equal to 1",
        ));
    }
    if most < 1 {
        causes.push(Cause::invalid("spec.maxReplicas", &json!(most), "must be greater than 0"));
    }
    if least.is_some_and(|least| most < least) {
        let why = "must be greater than or equal to `minReplicas`";
        causes.push(Cause::invalid("spec.maxReplicas", &json!(most), why));
    }
    for field in ["kind", "name"] {
        if text(&spec["scaleTargetRef"], field).is_empty() {
            causes.push(Cause::required(format!("spec.scaleTargetRef.{field}"), ""));
        }
    }
    let version = &spec["scaleTargetRef"]["apiVersion"];
    if !version.as_str().unwrap_or_default().contains('/') {
        let why = "apiVersion must specify API group";
        let shown = json!(version.as_str().unwrap_or_default());
        causes.push(Cause::invalid("spec.scaleTargetRef.apiVersion", &shown, why));
    }
    let from_zero = |metric: &Value| matches!(metric["type"].as_str(), Some("Object" | "External"));
    if least == Some(0) && !list(spec, "metrics").iter().any(from_zero) {
        let why = "must specify at least one Object or External metric to support scaling to zero replicas";
        causes.push(Cause::forbidden("spec.metrics", why));
    }
    causes
}

/// Problems of a PodDisruptionBudget.
pub(super) fn budget(object: &Value) -> Vec<Cause> {
    let spec = &object["spec"];
    let mut causes = Vec::new();
    if !spec["minAvailable"].is_null() && !spec["maxUnavailable"].is_null() {
        let why = "minAvailable and maxUnavailable cannot be both set";
        // the server prints its own struct here
        let told = json!({
            "MinAvailable": spec["minAvailable"], "Selector": spec["selector"],
            "MaxUnavailable": spec["maxUnavailable"],
            "UnhealthyPodEvictionPolicy": spec["unhealthyPodEvictionPolicy"],
        });
        causes.push(Cause::invalid("spec", &told, why));
    }
    for field in ["minAvailable", "maxUnavailable"] {
        let value = &spec[field];
        causes.extend(int_or_percent(value, &format!("spec.{field}")));
        if percent(value).is_some_and(|percent| percent > 100) {
            causes.push(Cause::invalid(format!("spec.{field}"), value, "must not be greater than 100%"));
        }
    }
    causes.extend(selector(&spec["selector"], "spec.selector"));
    causes
}
