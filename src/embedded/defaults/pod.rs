//! Defaults of pods and of the templates that pods are made from.

use super::{each_default, items, set};
use serde_json::{Value, json};

/// A pod itself has some defaults that its template has not.
pub(super) fn pod(object: &mut Value) {
    let spec = &mut object["spec"];
    pod_spec(spec);
    for list in ["containers", "initContainers"] {
        for container in items(spec, list) {
            requests_from_limits(container);
        }
    }
    set(spec, "enableServiceLinks", json!(true));
    if spec["hostNetwork"] == json!(true) {
        for list in ["containers", "initContainers"] {
            for container in items(spec, list) {
                for port in items(container, "ports") {
                    let own = port["containerPort"].clone();
                    set(port, "hostPort", own);
                }
            }
        }
    }
    if object["status"].is_object() {
        set(&mut object["status"], "phase", json!("Pending"));
    }
}

/// A template's `spec`.
pub(super) fn template(template: &mut Value) {
    pod_spec(&mut template["spec"]);
}

fn requests_from_limits(container: &mut Value) {
    let Some(limits) = container["resources"].get("limits").and_then(Value::as_object).cloned() else {
        return;
    };
    let resources = &mut container["resources"];
    set(resources, "requests", json!({}));
    for (resource, amount) in limits {
        set(&mut resources["requests"], &resource, amount);
    }
}

fn pod_spec(spec: &mut Value) {
    if !spec.is_object() {
        return;
    }
    set(spec, "dnsPolicy", json!("ClusterFirst"));
    set(spec, "restartPolicy", json!("Always"));
    set(spec, "securityContext", json!({}));
    set(spec, "terminationGracePeriodSeconds", json!(30));
    set(spec, "schedulerName", json!("default-scheduler"));
    // two names of one field: the old one always says what the new one does
    if let Some(old) = spec.get("serviceAccount").cloned() {
        set(spec, "serviceAccountName", old);
    }
    if let Some(name) = spec.get("serviceAccountName").cloned() {
        spec["serviceAccount"] = name;
    }
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for item in items(spec, list) {
            container(item);
        }
    }
    for item in items(spec, "volumes") {
        volume(item);
    }
}

fn container(container: &mut Value) {
    let image = container["image"].as_str().unwrap_or_default();
    let policy = if tag(image) == "latest" { "Always" } else { "IfNotPresent" };
    set(container, "imagePullPolicy", json!(policy));
    set(container, "terminationMessagePath", json!("/dev/termination-log"));
    set(container, "terminationMessagePolicy", json!("File"));
    each_default(container, "ports", "protocol", "TCP");
    for variable in items(container, "env") {
        if variable.get("valueFrom").is_some_and(|from| from.get("fieldRef").is_some()) {
            set(&mut variable["valueFrom"]["fieldRef"], "apiVersion", json!("v1"));
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(probe) {
            self::probe(probe);
        }
    }
    if let Some(lifecycle) = container.get_mut("lifecycle") {
        for handler in ["postStart", "preStop"] {
            if let Some(handler) = lifecycle.get_mut(handler) {
                http_get(handler);
            }
        }
    }
}

/// What follows the last colon of an image's last path segment; `latest` where nothing does; nothing beside a
/// digest.
fn tag(image: &str) -> &str {
    let (name, digest) = image.split_once('@').map_or((image, false), |(name, _)| (name, true));
    let last = name.rsplit('/').next().unwrap_or_default();
    match last.split_once(':') {
        Some((_, tag)) => tag,
        None if digest => "",
        None => "latest",
    }
}

fn probe(probe: &mut Value) {
    for (field, value) in
        [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
    {
        if probe[field].as_i64().unwrap_or(0) == 0 {
            probe[field] = json!(value);
        }
    }
    if let Some(grpc) = probe.get_mut("grpc")
        && grpc["service"].is_null()
    {
        grpc["service"] = json!("");
    }
    http_get(probe);
}

fn http_get(handler: &mut Value) {
    if let Some(get) = handler.get_mut("httpGet") {
        set(get, "path", json!("/"));
        set(get, "scheme", json!("HTTP"));
    }
}

fn volume(volume: &mut Value) {
    let Some(map) = volume.as_object_mut() else { return };
    if map.keys().all(|field| field == "name") {
        map.insert("emptyDir".to_owned(), json!({}));
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = volume.get_mut(source) {
            set(source, "defaultMode", json!(0o644));
        }
    }
    if let Some(source) = volume.get_mut("downwardAPI") {
        field_references(source);
    }
    if let Some(projected) = volume.get_mut("projected") {
        for source in items(projected, "sources") {
            if let Some(token) = source.get_mut("serviceAccountToken") {
                set(token, "expirationSeconds", json!(3600));
            }
            if let Some(downward) = source.get_mut("downwardAPI") {
                field_references(downward);
            }
        }
    }
    if let Some(path) = volume.get_mut("hostPath")
        && path.get("type").is_none()
    {
        path["type"] = json!("");
    }
    if let Some(ephemeral) = volume.get_mut("ephemeral")
        && ephemeral["volumeClaimTemplate"].is_object()
    {
        set(&mut ephemeral["volumeClaimTemplate"]["spec"], "volumeMode", json!("Filesystem"));
    }
}

fn field_references(source: &mut Value) {
    for item in items(source, "items") {
        if let Some(field) = item.get_mut("fieldRef") {
            set(field, "apiVersion", json!("v1"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::tag;

    #[test]
    fn the_tag_of_an_image_decides_when_it_is_pulled() {
        for (image, expected) in [
            ("nginx", "latest"),
            ("nginx:1.2", "1.2"),
            ("localhost:5000/web", "latest"),
            ("localhost:5000/web:v1", "v1"),
            ("web@sha256:abc", ""),
            ("web:latest@sha256:abc", "latest"),
        ] {
            assert_eq!(tag(image), expected, "{image}");
        }
    }
}
