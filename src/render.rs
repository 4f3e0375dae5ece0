//! Strict Handlebars templates → parsed, checked manifests.
//!
//! Owns the templates, the text they make and what may stand in it. Pure: no clock, network, file or environment;
//! the same values and templates give the same bytes. Does not know the config repository, Git or a cluster.

mod cache;
mod engine;
mod explain;
mod helpers;
pub mod html;
mod lint;
pub mod manifest;
mod output;
pub mod policy;
mod problem;
mod rewrite;
mod scalar;
mod scan;
mod template;
mod values;

pub use cache::RenderCache;
pub use manifest::{Manifest, ObjectKey};
pub use problem::{Problem, RenderError};
pub use template::{Template, TemplateFile, TemplateSet};

use serde_json::{Map, Value};

use self::output::Rendered;
use self::values::Identity;
use crate::yaml::{self, Limits};

/// The annotation by which pods are replaced when a secret that they read has changed.
const SECRETS_VERSION: &str = "branchline.dev/secrets-version";

/// Renders a template with the values of one service in one environment.
///
/// The values are those of `docs/templates.md`; optional ones may be left out. Every object that comes back carries
/// our labels, and so do the pods that it makes.
///
/// # Errors
/// Everything that is wrong, not only the first: a template that does not exist or does not compile, a parameter that
/// its schema refuses, a missing value, a text that is no YAML, a document that is no object.
pub fn render(set: &TemplateSet, template: &str, values: &Value) -> Result<Vec<Manifest>, Vec<RenderError>> {
    let template = set.get(template)?;
    let mut values = values::complete(values);
    let mut params = match values.get_mut("params").map(Value::take) {
        Some(Value::Object(params)) => params,
        _ => Map::new(),
    };
    template.check_parameters(&mut params)?;
    values["params"] = Value::Object(params);
    let identity = Identity::of(&values);
    let mut manifests = Vec::new();
    template.program().run(&values, |file, rendered| {
        let (found, problems): (Vec<_>, Vec<_>) =
            objects(template, file, rendered).into_iter().partition(Result::is_ok);
        manifests.extend(found.into_iter().flatten());
        problems.into_iter().filter_map(Result::err).collect()
    })?;
    let secrets = values["secretsVersion"].as_str();
    for manifest in &mut manifests {
        stamp(manifest, &identity, secrets);
    }
    Ok(manifests)
}

/// Reads the objects of one rendered file.
fn objects(template: &Template, file: &str, rendered: &Rendered) -> Vec<Result<Manifest, RenderError>> {
    let refuse = |line: u32, problem| {
        let place = template.program().origin(file, rendered, line);
        RenderError::new(&place.file, place.line as usize, 1, problem)
    };
    let documents = match yaml::read(file, rendered.text(), &Limits::manifests()) {
        Ok(documents) => documents,
        Err(error) => {
            let line = error.place.line;
            return vec![Err(refuse(line, Problem::Yaml { line, message: error.message }))];
        }
    };
    let object = |document: yaml::Node| {
        let line = document.place.line;
        if let Some((place, key)) = reserved(&document) {
            return Err(refuse(place, Problem::Ours(key)));
        }
        let origin = template.program().origin(file, rendered, line);
        Manifest::new(document.to_json(), &*origin.file, origin.line)
            .map_err(|error| refuse(line, Problem::NoObject(error.to_string())))
    };
    documents.into_iter().map(object).collect()
}

/// A label or an annotation of ours that the template sets itself, with its rendered line.
fn reserved(document: &yaml::Node) -> Option<(u32, String)> {
    let metadata = ["", "/spec/template", "/spec/jobTemplate", "/spec/jobTemplate/spec/template"];
    metadata
        .iter()
        .flat_map(|parent| ["labels", "annotations"].map(|what| format!("{parent}/metadata/{what}")))
        .filter_map(|pointer| document.at(&pointer))
        .flat_map(yaml::Node::entries)
        .find(|(key, _)| policy::is_reserved(&key.name))
        .map(|(key, _)| (key.place.line, key.name.clone()))
}

/// Puts our labels on an object and on the pods that it makes.
fn stamp(manifest: &mut Manifest, identity: &Identity, secrets_version: Option<&str>) {
    let labels = identity.labels();
    manifest.stamp(&["metadata"], "labels", &labels);
    let pods: &[&str] = match manifest.kind() {
        "Deployment" | "StatefulSet" | "DaemonSet" | "Job" => &["spec", "template", "metadata"],
        "CronJob" => &["spec", "jobTemplate", "spec", "template", "metadata"],
        _ => return,
    };
    manifest.stamp(pods, "labels", &labels);
    if manifest.kind() == "CronJob" {
        manifest.stamp(&["spec", "jobTemplate", "metadata"], "labels", &labels);
    }
    if let Some(version) = secrets_version {
        manifest.stamp(pods, "annotations", &[(SECRETS_VERSION.to_owned(), version.to_owned())]);
    }
}
