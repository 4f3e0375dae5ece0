//! Pods and the templates that pods are made from.

pub(super) mod container;

use super::{Cause, immutable, list, meta, names, text};
use serde_json::Value;

/// Problems of a pod, and what a change of it may not touch.
pub(super) fn pod(object: &Value, live: Option<&Value>) -> Vec<Cause> {
    let mut causes = spec(&object["spec"], "spec");
    if let Some(live) = live {
        causes.extend(changed(&object["spec"], &live["spec"]));
    }
    causes
}

/// Problems of a pod template: its metadata's labels and annotations, and its spec.
pub(super) fn template(template: &Value, at: &str) -> Vec<Cause> {
    let metadata = &template["metadata"];
    let mut causes = meta::labels(&metadata["labels"], &format!("{at}.labels"));
    causes.extend(meta::annotations(&metadata["annotations"], &format!("{at}.annotations")));
    causes.extend(spec(&template["spec"], &format!("{at}.spec")));
    if !list(&template["spec"], "ephemeralContainers").is_empty() {
        let why = "ephemeral containers not allowed in pod template";
        causes.push(Cause::forbidden(format!("{at}.spec.ephemeralContainers"), why));
    }
    causes
}

fn spec(spec: &Value, at: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let volumes = volumes(spec, at, &mut causes);
    let containers = format!("{at}.containers");
    if list(spec, "containers").is_empty() {
        causes.push(Cause::required(containers, ""));
    } else {
        causes.extend(container::all(list(spec, "containers"), &containers, &volumes, container::Role::Main));
    }
    let init = format!("{at}.initContainers");
    causes.extend(container::all(list(spec, "initContainers"), &init, &volumes, container::Role::Init));
    for (position, container) in list(spec, "initContainers").iter().enumerate() {
        if list(spec, "containers").iter().any(|main| main["name"] == container["name"]) {
            causes.push(Cause::duplicate(format!("{init}[{position}].name"), &container["name"]));
        }
    }
    let one_of = |field: &str, supported: &[&str], causes: &mut Vec<Cause>| {
        let value = text(spec, field);
        if !value.is_empty() && !supported.contains(&value) {
            causes.push(Cause::unsupported_in_order(format!("{at}.{field}"), &spec[field], supported));
        }
    };
    one_of("restartPolicy", &["Always", "OnFailure", "Never"], &mut causes);
    one_of("dnsPolicy", &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"], &mut causes);
    causes.extend(meta::labels(&spec["nodeSelector"], &format!("{at}.nodeSelector")));
    for (field, rule) in [
        ("serviceAccountName", names::dns_subdomain as fn(&str) -> Vec<String>),
        ("nodeName", names::dns_subdomain),
    ] {
        let value = text(spec, field);
        if !value.is_empty() {
            let problems = rule(value).into_iter();
            causes.extend(problems.map(|why| Cause::invalid(format!("{at}.{field}"), &spec[field], why)));
        }
    }
    if let Some(seconds) = spec["activeDeadlineSeconds"].as_i64()
        && !(1..=i64::from(i32::MAX)).contains(&seconds)
    {
        let why = "must be between 1 and 2147483647, inclusive";
        causes.push(Cause::invalid(
            format!("{at}.activeDeadlineSeconds"),
            &spec["activeDeadlineSeconds"],
            why,
        ));
    }
    for field in ["hostname", "subdomain"] {
        if !text(spec, field).is_empty() {
            let problems = names::dns_label(text(spec, field)).into_iter();
            causes.extend(problems.map(|why| Cause::invalid(format!("{at}.{field}"), &spec[field], why)));
        }
    }
    one_of("preemptionPolicy", &["Never", "PreemptLowerPriority"], &mut causes);
    causes
}

/// Names of the usable volumes.
fn volumes<'a>(spec: &'a Value, at: &str, causes: &mut Vec<Cause>) -> Vec<&'a str> {
    let mut usable = Vec::new();
    for (position, volume) in list(spec, "volumes").iter().enumerate() {
        let at = format!("{at}.volumes[{position}]");
        let name = text(volume, "name");
        let mut problems = volume_source(volume, &at);
        if name.is_empty() {
            problems.push(Cause::required(format!("{at}.name"), ""));
        } else {
            let wrong = names::dns_label(name).into_iter();
            problems.extend(wrong.map(|why| Cause::invalid(format!("{at}.name"), &volume["name"], why)));
        }
        if usable.contains(&name) {
            problems.push(Cause::duplicate(format!("{at}.name"), &volume["name"]));
        }
        if problems.is_empty() {
            usable.push(name);
        } else {
            causes.extend(problems);
        }
    }
    usable
}

fn volume_source(volume: &Value, at: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let sources: Vec<&String> = volume
        .as_object()
        .into_iter()
        .flatten()
        .map(|(field, _)| field)
        .filter(|field| *field != "name")
        .collect();
    if sources.is_empty() {
        causes.push(Cause::required(at, "must specify a volume type"));
    }
    for extra in sources.iter().skip(1) {
        causes.push(Cause::forbidden(format!("{at}.{extra}"), "may not specify more than 1 volume type"));
    }
    let required = |source: &str, field: &str, causes: &mut Vec<Cause>| {
        let first = sources.first().is_some_and(|first| *first == source);
        if first && text(&volume[source], field).is_empty() {
            causes.push(Cause::required(format!("{at}.{source}.{field}"), ""));
        }
    };
    required("secret", "secretName", &mut causes);
    required("configMap", "name", &mut causes);
    required("persistentVolumeClaim", "claimName", &mut causes);
    required("hostPath", "path", &mut causes);
    causes
}

/// A pod's spec can hardly change: images, deadlines and additions to its tolerations.
fn changed(spec: &Value, live: &Value) -> Vec<Cause> {
    let mut allowed = live.clone();
    for field in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        if spec.get(field).is_some() {
            allowed[field] = spec[field].clone();
        }
    }
    for containers in ["containers", "initContainers"] {
        if list(spec, containers).len() != list(live, containers).len() {
            continue;
        }
        for (position, container) in list(spec, containers).iter().enumerate() {
            if container.get("image").is_some() {
                allowed[containers][position]["image"] = container["image"].clone();
            }
        }
    }
    if text(live, "nodeName").is_empty() && spec.get("nodeName").is_some() {
        // the node takes pods by writing its name, in place of the `binding` subresource
        allowed["nodeName"] = spec["nodeName"].clone();
    }
    if immutable(spec, &allowed, "spec").is_none() {
        return Vec::new();
    }
    let why = "pod updates may not change fields other than `spec.containers[*].image`,\
        `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing \
        tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
    vec![Cause::forbidden("spec", why)]
}
