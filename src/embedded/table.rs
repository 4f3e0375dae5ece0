//! Tables: the columns that `kubectl get` shows, made by the server.
//!
//! Columns and cells are those of the server's own printers; descriptions of columns are left empty.

mod cells;
mod pod;

use super::api::partial;
use super::kinds::Kind;
use jiff::Timestamp;
use serde_json::{Value, json};

/// A column: name, type, format, and 0 where it is always shown, 1 for `-o wide`.
type Column = (&'static str, &'static str, u8);

const NAME: Column = ("Name", "string", 0);
const AGE: Column = ("Age", "string", 0);

/// Objects as a `meta.k8s.io/v1` Table. Watches send the columns with their first event only.
pub(crate) fn of(
    kind: &Kind,
    objects: &[&Value],
    metadata: &Value,
    now: Timestamp,
    with_columns: bool,
) -> Value {
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let mut row = json!({"cells": cells::of(kind, object, now)});
            if let Some(phase) = finished(kind, object) {
                row["conditions"] = json!([{
                    "type": "Completed", "status": "True", "reason": phase,
                    "message": "The pod has completed successfully.",
                }]);
                if phase == "Failed" {
                    row["conditions"][0]["message"] = json!("The pod failed.");
                }
            }
            row["object"] = partial(object, true);
            row
        })
        .collect();
    let mut table = json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata});
    table["columnDefinitions"] = if with_columns { columns(kind) } else { json!([]) };
    table["rows"] = Value::Array(rows);
    table
}

fn finished<'a>(kind: &Kind, object: &'a Value) -> Option<&'a str> {
    let phase = object["status"]["phase"].as_str()?;
    (kind.kind == "Pod" && matches!(phase, "Succeeded" | "Failed")).then_some(phase)
}

fn columns(kind: &Kind) -> Value {
    let columns = columns_of(kind);
    let all = columns.iter().map(|(name, kind, priority)| {
        let format = if *name == "Name" { "name" } else { "" };
        json!({"name": name, "type": kind, "format": format, "description": "", "priority": priority})
    });
    Value::Array(all.collect())
}

#[expect(clippy::too_many_lines, reason = "one table")]
fn columns_of(kind: &Kind) -> Vec<Column> {
    let text = |name| (name, "string", 0);
    let number = |name| (name, "integer", 0);
    let wide = |name| (name, "string", 1);
    let workload = [wide("Containers"), wide("Images"), wide("Selector")];
    let mut columns = vec![NAME];
    match kind.kind {
        "Deployment" => columns.extend([text("Ready"), text("Up-to-date"), text("Available"), AGE]),
        "ReplicaSet" => columns.extend([number("Desired"), number("Current"), number("Ready"), AGE]),
        "Job" => columns.extend([text("Status"), text("Completions"), text("Duration"), AGE]),
        "CronJob" => columns.extend([
            text("Schedule"),
            text("Timezone"),
            text("Suspend"),
            number("Active"),
            text("Last Schedule"),
            AGE,
        ]),
        "Pod" => columns.extend([
            text("Ready"),
            text("Status"),
            text("Restarts"),
            AGE,
            wide("IP"),
            wide("Node"),
            wide("Nominated Node"),
            wide("Readiness Gates"),
        ]),
        "Service" => columns.extend([
            text("Type"),
            text("Cluster-IP"),
            text("External-IP"),
            text("Port(s)"),
            AGE,
            wide("Selector"),
        ]),
        "Ingress" => columns.extend([text("Class"), text("Hosts"), text("Address"), text("Ports"), AGE]),
        "ConfigMap" => columns.extend([text("Data"), AGE]),
        "Secret" => columns.extend([text("Type"), text("Data"), AGE]),
        "Namespace" => columns.extend([text("Status"), AGE]),
        "ServiceAccount" => columns.extend([text("Secrets"), AGE]),
        "PersistentVolumeClaim" => columns.extend([
            text("Status"),
            text("Volume"),
            text("Capacity"),
            text("Access Modes"),
            text("StorageClass"),
            text("VolumeAttributesClass"),
            AGE,
            wide("VolumeMode"),
        ]),
        "Event" => {
            columns = vec![
                text("Last Seen"),
                text("Type"),
                text("Reason"),
                text("Object"),
                wide("Subobject"),
                wide("Source"),
                text("Message"),
                wide("First Seen"),
                wide("Count"),
                wide("Name"),
            ];
        }
        "Node" => columns.extend([
            text("Status"),
            text("Roles"),
            AGE,
            text("Version"),
            wide("Internal-IP"),
            wide("External-IP"),
            wide("OS-Image"),
            wide("Kernel-Version"),
            wide("Container-Runtime"),
        ]),
        "HorizontalPodAutoscaler" => columns.extend([
            text("Reference"),
            text("Targets"),
            text("MinPods"),
            text("MaxPods"),
            text("Replicas"),
            AGE,
        ]),
        "PodDisruptionBudget" => columns.extend([
            text("Min Available"),
            text("Max Unavailable"),
            number("Allowed Disruptions"),
            AGE,
        ]),
        "Endpoints" => columns.extend([text("Endpoints"), AGE]),
        "ResourceQuota" => columns.extend([text("Request"), text("Limit"), AGE]),
        "NetworkPolicy" => columns.extend([text("Pod-Selector"), AGE]),
        "RoleBinding" => {
            columns.extend([text("Role"), AGE, wide("Users"), wide("Groups"), wide("ServiceAccounts")]);
        }
        "EndpointSlice" => columns.extend([text("AddressType"), text("Ports"), text("Endpoints"), AGE]),
        "Lease" => columns.extend([text("Holder"), AGE]),
        _ => columns.push(("Created At", "date", 0)),
    }
    if matches!(kind.kind, "Deployment" | "ReplicaSet" | "Job" | "CronJob") {
        columns.extend(workload);
    }
    columns
}
