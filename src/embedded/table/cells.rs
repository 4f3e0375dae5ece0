//! The cells of one row, by kind.

use super::pod;
use crate::embedded::kinds::Kind;
use crate::embedded::select::selector_text;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

const NONE: &str = "<none>";
const UNSET: &str = "<unset>";

/// The cells of an object.
pub(super) fn of(kind: &Kind, object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let age = || json!(age(&object["metadata"]["creationTimestamp"], now));
    let mut cells = vec![object["metadata"]["name"].clone()];
    match kind.kind {
        "Deployment" => {
            let ready = format!("{}/{}", count(status, "readyReplicas"), count(spec, "replicas"));
            cells.extend([json!(ready), json!(count(status, "updatedReplicas"))]);
            cells.extend([json!(count(status, "availableReplicas")), age()]);
        }
        "ReplicaSet" => {
            cells.extend([json!(count(spec, "replicas")), json!(count(status, "replicas"))]);
            cells.extend([json!(count(status, "readyReplicas")), age()]);
        }
        "Job" => cells.extend(job(object, now)),
        "CronJob" => cells.extend(cron_job(object, now)),
        "Pod" => cells.extend(pod::cells(object, age(), now)),
        "Service" => cells.extend(service(object, age())),
        "Ingress" => cells.extend(ingress(object, age())),
        "ConfigMap" => {
            cells.extend([json!(entries(&object["data"]) + entries(&object["binaryData"])), age()]);
        }
        "Secret" => cells.extend([object["type"].clone(), json!(entries(&object["data"])), age()]),
        "Namespace" => cells.extend([status["phase"].clone(), age()]),
        "ServiceAccount" => cells.extend([json!(list(&object["secrets"]).len()), age()]),
        "PersistentVolumeClaim" => cells.extend(claim(object, age())),
        "Event" => cells = event(object, now),
        "Node" => cells.extend(node(object, age())),
        "HorizontalPodAutoscaler" => cells.extend(autoscaler(object, age())),
        "PodDisruptionBudget" => {
            let shown = |value: &Value| json!(plain(value).unwrap_or_else(|| "N/A".to_owned()));
            cells.extend([shown(&spec["minAvailable"]), shown(&spec["maxUnavailable"])]);
            cells.extend([json!(count(status, "disruptionsAllowed")), age()]);
        }
        "Endpoints" => cells.extend([json!(endpoints(object)), age()]),
        "ResourceQuota" => cells.extend(quota(object, age())),
        "NetworkPolicy" => cells.extend([json!(or(selector_text(&spec["podSelector"]), NONE)), age()]),
        "RoleBinding" => cells.extend(role_binding(object, age())),
        "EndpointSlice" => cells.extend(endpoint_slice(object, age())),
        "Lease" => cells.extend([spec["holderIdentity"].clone(), age()]),
        _ => cells.push(object["metadata"]["creationTimestamp"].clone()),
    }
    if matches!(kind.kind, "Deployment" | "ReplicaSet" | "Job" | "CronJob") {
        cells.extend(workload(kind, spec));
    }
    cells
}

pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn entries(value: &Value) -> usize {
    value.as_object().map_or(0, Map::len)
}

fn count(object: &Value, field: &str) -> i64 {
    object[field].as_i64().unwrap_or(0)
}

fn or(text: String, otherwise: &str) -> String {
    if text.is_empty() { otherwise.to_owned() } else { text }
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// How long ago a time is, as `kubectl` prints it; `<unknown>` where there is none.
pub(super) fn age(time: &Value, now: Timestamp) -> String {
    let since: Option<Timestamp> = time.as_str().and_then(|text| text.parse().ok());
    since.map_or_else(|| "<unknown>".to_owned(), |since| human(now.as_second() - since.as_second()))
}

/// A duration in at most two units, coarser as it grows.
pub(super) fn human(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    let two = |unit: i64, name: &str, below: i64, below_name: &str| {
        let rest = seconds % unit / below;
        let whole = seconds / unit;
        if rest == 0 { format!("{whole}{name}") } else { format!("{whole}{name}{rest}{below_name}") }
    };
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1..=0 => "0s".to_owned(),
        _ if seconds < 2 * MINUTE => format!("{seconds}s"),
        _ if seconds < 10 * MINUTE => two(MINUTE, "m", 1, "s"),
        _ if seconds < 3 * HOUR => format!("{}m", seconds / MINUTE),
        _ if seconds < 8 * HOUR => two(HOUR, "h", MINUTE, "m"),
        _ if seconds < 2 * DAY => format!("{}h", seconds / HOUR),
        _ if seconds < 8 * DAY => two(DAY, "d", HOUR, "h"),
        _ if seconds < 2 * 365 * DAY => format!("{}d", seconds / DAY),
        _ if seconds < 8 * 365 * DAY => two(365 * DAY, "y", DAY, "d"),
        _ => format!("{}y", seconds / (365 * DAY)),
    }
}

fn workload(kind: &Kind, spec: &Value) -> Vec<Value> {
    let (template, selector) = if kind.kind == "CronJob" {
        (&spec["jobTemplate"]["spec"]["template"], &spec["jobTemplate"]["spec"]["selector"])
    } else {
        (&spec["template"], &spec["selector"])
    };
    let containers = list(&template["spec"]["containers"]);
    let joined = |field: &str| containers.iter().map(|one| text(&one[field])).collect::<Vec<_>>().join(",");
    vec![json!(joined("name")), json!(joined("image")), json!(or(selector_text(selector), NONE))]
}

fn condition<'a>(status: &'a Value, kind: &str) -> Option<&'a Value> {
    list(&status["conditions"]).iter().find(|one| one["type"] == kind && one["status"] == "True")
}

fn job(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let state = if condition(status, "Complete").is_some() {
        "Complete"
    } else if condition(status, "Failed").is_some() {
        "Failed"
    } else if !object["metadata"]["deletionTimestamp"].is_null() {
        "Terminating"
    } else if condition(status, "Suspended").is_some() {
        "Suspended"
    } else if condition(status, "FailureTarget").is_some() {
        "FailureTarget"
    } else if condition(status, "SuccessCriteriaMet").is_some() {
        "SuccessCriteriaMet"
    } else {
        "Running"
    };
    let succeeded = count(status, "succeeded");
    let completions = match (spec["completions"].as_i64(), count(spec, "parallelism")) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, parallel) if parallel > 1 => format!("{succeeded}/1 of {parallel}"),
        (None, _) => format!("{succeeded}/1"),
    };
    let start: Option<Timestamp> = status["startTime"].as_str().and_then(|text| text.parse().ok());
    let end: Option<Timestamp> = status["completionTime"].as_str().and_then(|text| text.parse().ok());
    let duration = match (start, end) {
        (None, _) => String::new(),
        (Some(start), end) => human(end.unwrap_or(now).as_second() - start.as_second()),
    };
    vec![
        json!(state),
        json!(completions),
        json!(duration),
        json!(age(&object["metadata"]["creationTimestamp"], now)),
    ]
}

fn cron_job(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let last = &status["lastScheduleTime"];
    let last = if last.is_null() { NONE.to_owned() } else { age(last, now) };
    let suspend = if spec["suspend"] == json!(true) { "True" } else { "False" };
    vec![
        spec["schedule"].clone(),
        json!(or(text(&spec["timeZone"]).to_owned(), NONE)),
        json!(suspend),
        json!(list(&status["active"]).len()),
        json!(last),
        json!(age(&object["metadata"]["creationTimestamp"], now)),
    ]
}

fn service(object: &Value, age: Value) -> Vec<Value> {
    let spec = &object["spec"];
    let ports: Vec<String> = list(&spec["ports"])
        .iter()
        .map(|port| {
            let node_port = count(port, "nodePort");
            let (number, protocol) = (count(port, "port"), text(&port["protocol"]));
            if node_port == 0 {
                format!("{number}/{protocol}")
            } else {
                format!("{number}:{node_port}/{protocol}")
            }
        })
        .collect();
    let selector = selector_text(&json!({"matchLabels": spec["selector"]}));
    vec![
        spec["type"].clone(),
        json!(or(text(&spec["clusterIP"]).to_owned(), NONE)),
        json!(external_ip(object)),
        json!(or(ports.join(","), NONE)),
        age,
        json!(or(selector, NONE)),
    ]
}

fn external_ip(service: &Value) -> String {
    let spec = &service["spec"];
    let ips = || list(&spec["externalIPs"]).iter().map(text).collect::<Vec<_>>().join(",");
    match text(&spec["type"]) {
        "ExternalName" => text(&spec["externalName"]).to_owned(),
        "LoadBalancer" => {
            let mut all = balancer(&service["status"]);
            if !ips().is_empty() {
                all = [all, ips()].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(",");
            }
            or(all, "<pending>")
        }
        _ => or(ips(), NONE),
    }
}

fn balancer(status: &Value) -> String {
    let points = list(&status["loadBalancer"]["ingress"]);
    let shown = points
        .iter()
        .map(|point| if point["ip"].is_string() { text(&point["ip"]) } else { text(&point["hostname"]) });
    shown.collect::<Vec<_>>().join(",")
}

fn ingress(object: &Value, age: Value) -> Vec<Value> {
    let spec = &object["spec"];
    let mut hosts: Vec<&str> =
        list(&spec["rules"]).iter().map(|rule| text(&rule["host"])).filter(|host| !host.is_empty()).collect();
    hosts.dedup();
    let more = hosts.len().saturating_sub(3);
    let shown = if more > 0 { format!("{} + {more} more...", hosts[..3].join(",")) } else { hosts.join(",") };
    let ports = if list(&spec["tls"]).is_empty() { "80" } else { "80, 443" };
    vec![
        json!(or(text(&spec["ingressClassName"]).to_owned(), NONE)),
        json!(or(shown, "*")),
        json!(balancer(&object["status"])),
        json!(ports),
        age,
    ]
}

fn claim(object: &Value, age: Value) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let phase = if object["metadata"]["deletionTimestamp"].is_null() {
        text(&status["phase"])
    } else {
        "Terminating"
    };
    let bound = !text(&spec["volumeName"]).is_empty();
    let modes: Vec<&str> = list(&status["accessModes"])
        .iter()
        .map(|mode| match text(mode) {
            "ReadWriteOnce" => "RWO",
            "ReadOnlyMany" => "ROX",
            "ReadWriteMany" => "RWX",
            _ => "RWOP",
        })
        .collect();
    let capacity = if bound { text(&status["capacity"]["storage"]) } else { "" };
    vec![
        json!(phase),
        json!(text(&spec["volumeName"])),
        json!(capacity),
        json!(if bound { modes.join(",") } else { String::new() }),
        json!(text(&spec["storageClassName"])),
        json!(or(text(&spec["volumeAttributesClassName"]).to_owned(), UNSET)),
        age,
        json!(or(text(&spec["volumeMode"]).to_owned(), UNSET)),
    ]
}

fn event(object: &Value, now: Timestamp) -> Vec<Value> {
    let first =
        if object["firstTimestamp"].is_null() { &object["eventTime"] } else { &object["firstTimestamp"] };
    let last = if object["series"].is_object() {
        &object["series"]["lastObservedTime"]
    } else {
        &object["lastTimestamp"]
    };
    let first_seen = age(first, now);
    let last_seen = if last.is_null() { first_seen.clone() } else { age(last, now) };
    let about = &object["involvedObject"];
    let target = format!("{}/{}", text(&about["kind"]).to_lowercase(), text(&about["name"]));
    let source = [text(&object["source"]["component"]), text(&object["source"]["host"])];
    let source: Vec<&str> = source.into_iter().filter(|part| !part.is_empty()).collect();
    let times = object["series"]["count"].as_i64().or_else(|| object["count"].as_i64()).unwrap_or(1);
    vec![
        json!(last_seen),
        object["type"].clone(),
        object["reason"].clone(),
        json!(target),
        json!(text(&about["fieldPath"])),
        json!(or(source.join(", "), text(&object["reportingComponent"]))),
        json!(text(&object["message"]).trim()),
        json!(first_seen),
        json!(times),
        object["metadata"]["name"].clone(),
    ]
}

fn node(object: &Value, age: Value) -> Vec<Value> {
    let status = &object["status"];
    let ready = list(&status["conditions"]).iter().find(|one| one["type"] == "Ready");
    let mut state = match ready {
        Some(ready) if ready["status"] == "True" => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if object["spec"]["unschedulable"] == json!(true) {
        state.push_str(",SchedulingDisabled");
    }
    let labels = object["metadata"]["labels"].as_object();
    let roles: Vec<&str> = labels
        .into_iter()
        .flatten()
        .filter_map(|(key, _)| key.strip_prefix("node-role.kubernetes.io/"))
        .collect();
    let address = |kind: &str| {
        let found = list(&status["addresses"]).iter().find(|one| one["type"] == kind);
        found.map_or_else(|| NONE.to_owned(), |one| text(&one["address"]).to_owned())
    };
    let info = &status["nodeInfo"];
    let known = |field: &str| json!(or(text(&info[field]).to_owned(), "<unknown>"));
    vec![
        json!(state),
        json!(or(roles.join(","), NONE)),
        age,
        info["kubeletVersion"].clone(),
        json!(address("InternalIP")),
        json!(address("ExternalIP")),
        known("osImage"),
        known("kernelVersion"),
        known("containerRuntimeVersion"),
    ]
}

fn autoscaler(object: &Value, age: Value) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let target = &spec["scaleTargetRef"];
    let reference = format!("{}/{}", text(&target["kind"]), text(&target["name"]));
    let current = list(&status["currentMetrics"]);
    let targets: Vec<String> = list(&spec["metrics"])
        .iter()
        .enumerate()
        .map(|(at, metric)| metric_cell(metric, current.get(at)))
        .collect();
    let more = targets.len().saturating_sub(2);
    let shown =
        if more > 0 { format!("{} + {more} more...", targets[..2].join(", ")) } else { targets.join(", ") };
    vec![
        json!(reference),
        json!(or(shown, NONE)),
        json!(plain(&spec["minReplicas"]).unwrap_or_else(|| UNSET.to_owned())),
        json!(count(spec, "maxReplicas")),
        json!(count(status, "currentReplicas")),
        age,
    ]
}

fn metric_cell(metric: &Value, current: Option<&Value>) -> String {
    let Some(resource) = metric.get("resource") else { return "<unknown>".to_owned() };
    let target = &resource["target"];
    let name = text(&resource["name"]);
    let now = current.map_or(&Value::Null, |current| &current["resource"]["current"]);
    let shown = |value: &Value, suffix: &str| {
        plain(value).map_or_else(|| "<unknown>".to_owned(), |value| format!("{value}{suffix}"))
    };
    if target["averageUtilization"].is_number() {
        let field = "averageUtilization";
        return format!("{name}: {}/{}", shown(&now[field], "%"), shown(&target[field], "%"));
    }
    format!("{name}: {}/{}", shown(&now["averageValue"], ""), shown(&target["averageValue"], ""))
}

fn endpoints(object: &Value) -> String {
    let mut all = Vec::new();
    for subset in list(&object["subsets"]) {
        for address in list(&subset["addresses"]) {
            let ip = text(&address["ip"]);
            let ports = list(&subset["ports"]);
            if ports.is_empty() {
                all.push(ip.to_owned());
            }
            all.extend(ports.iter().map(|port| format!("{ip}:{}", count(port, "port"))));
        }
    }
    let more = all.len().saturating_sub(3);
    if more > 0 { format!("{} + {more} more...", all[..3].join(",")) } else { or(all.join(","), NONE) }
}

fn quota(object: &Value, age: Value) -> Vec<Value> {
    let (hard, used) = (&object["status"]["hard"], &object["status"]["used"]);
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    for (resource, most) in hard.as_object().into_iter().flatten() {
        let line = format!("{resource}: {}/{}", text(&used[resource.as_str()]), text(most));
        if resource.starts_with("limits.") { limits.push(line) } else { requests.push(line) }
    }
    vec![json!(requests.join(", ")), json!(limits.join(", ")), age]
}

fn role_binding(object: &Value, age: Value) -> Vec<Value> {
    let role = &object["roleRef"];
    let subjects = |kind: &str| {
        let of_kind = list(&object["subjects"]).iter().filter(|subject| subject["kind"] == kind);
        let names = of_kind.map(|subject| match text(&subject["namespace"]) {
            "" => text(&subject["name"]).to_owned(),
            namespace => format!("{namespace}/{}", text(&subject["name"])),
        });
        json!(names.collect::<Vec<_>>().join(", "))
    };
    vec![
        json!(format!("{}/{}", text(&role["kind"]), text(&role["name"]))),
        age,
        subjects("User"),
        subjects("Group"),
        subjects("ServiceAccount"),
    ]
}

fn endpoint_slice(object: &Value, age: Value) -> Vec<Value> {
    let ports: Vec<String> = list(&object["ports"]).iter().filter_map(|port| plain(&port["port"])).collect();
    let addresses: Vec<&str> =
        list(&object["endpoints"]).iter().flat_map(|one| list(&one["addresses"])).map(text).collect();
    let cut = |all: &[&str]| {
        let more = all.len().saturating_sub(3);
        if more > 0 { format!("{} + {more} more...", all[..3].join(",")) } else { or(all.join(","), UNSET) }
    };
    let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
    vec![object["addressType"].clone(), json!(cut(&ports)), json!(cut(&addresses)), age]
}

#[cfg(test)]
mod tests {
    use super::human;

    #[test]
    fn ages_are_printed_as_kubectl_prints_them() {
        for (seconds, shown) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (185, "3m5s"),
            (3600, "60m"),
            (4 * 3600 + 60, "4h1m"),
            (30 * 3600, "30h"),
            (3 * 86400, "3d"),
            (400 * 86400, "400d"),
            (-5, "<invalid>"),
        ] {
            assert_eq!(human(seconds), shown, "{seconds}");
        }
    }
}
