//! What a service must hold once its layers are summed up, beyond what a schema can say.

use super::problem::Problem;
use super::reference::{Interpolated, ReferenceNamespace};
use super::service::{Builder, ServiceSpec, ServiceType, StrategyType};
use super::value::Variable;
use super::{Document, Effective};
use crate::name::{BranchName, ImageRef, ServiceName};
use crate::yaml::{Node, NodeValue, Place};

/// The rules of one service, each with the place of the value that breaks it.
pub(super) fn of_service(
    name: &ServiceName,
    effective: &Effective,
    document: &Document<ServiceSpec>,
) -> Vec<Problem> {
    let Effective { spec, kind, node: sum, .. } = effective;
    let kind = *kind;
    let at = |pointer: &str| place(sum, pointer, document);
    let mut problems = Vec::new();
    let mut refuse = |pointer: &str, message: String, hint: &str| {
        problems.push(Problem::new(at(pointer), message).hint(hint))
    };
    let repo = spec.source.as_ref().and_then(|source| source.repo.as_deref());
    let from = spec.build.as_ref().and_then(|build| build.from.as_deref());
    if repo.is_none() && spec.image.is_none() {
        refuse(
            "/source",
            format!("the service `{name}` has neither `source.repo` nor `image`"),
            "say where it comes from",
        );
    }
    if repo.is_none() && spec.source.is_some() {
        refuse("/source", "`source` has no `repo`".to_owned(), "write source.repo: owner/name");
    }
    if let Some(branch) = spec.source.as_ref().and_then(|source| source.branch.as_deref())
        && let Err(error) = branch.parse::<BranchName>()
    {
        refuse("/source/branch", error.to_string(), "name the branch without refs/heads/");
    }
    let runs_files = spec.image.is_none() && kind != ServiceType::Static;
    if runs_files && spec.command.is_none() {
        refuse(
            "/command",
            format!("the service `{name}` has no `command`"),
            "say how it starts, such as command: [npm, start]",
        );
    }
    schedule(name, kind, spec, &mut refuse);
    ports(kind, spec, &mut refuse);
    paths(spec, &mut refuse);
    if let Some(scaling) = &spec.autoscaling {
        match scaling.max_replicas {
            None => refuse(
                "/autoscaling",
                "`autoscaling` has no `maxReplicas`".to_owned(),
                "say how many may run",
            ),
            Some(most) if most < scaling.min_replicas.unwrap_or(1) => {
                refuse(
                    "/autoscaling/maxReplicas",
                    "`maxReplicas` is less than `minReplicas`".to_owned(),
                    "raise one or lower the other",
                );
            }
            Some(_) => {}
        }
    }
    if let Some(disruption) = &spec.disruption
        && disruption.min_available.is_some() == disruption.max_unavailable.is_some()
    {
        refuse(
            "/disruption",
            "`disruption` takes one of `minAvailable` and `maxUnavailable`".to_owned(),
            "leave one out",
        );
    }
    if spec.strategy.as_ref().and_then(|s| s.kind) == Some(StrategyType::Recreate)
        && spec.autoscaling.is_some()
    {
        refuse(
            "/strategy/type",
            "a service that is scaled cannot be recreated".to_owned(),
            "set strategy.type: rolling",
        );
    }
    if from.is_some()
        && spec.build.as_ref().is_some_and(|b| b.command.is_some() || b.builder == Some(Builder::None))
    {
        refuse(
            "/build/from",
            "`build.from` takes the artifact of another service and builds nothing itself".to_owned(),
            "leave `build.command` out",
        );
    }
    if let Some(image) = spec.image.as_deref()
        && !image.contains("${{")
        && let Err(error) = image.parse::<ImageRef>()
    {
        refuse("/image", error.to_string(), "such as ghcr.io/acme/report:1.4.2");
    }
    variables(spec, &mut refuse);
    problems.extend(references(sum, document));
    problems
}

/// Only a cron service runs by a schedule, and it says by which.
fn schedule(
    name: &ServiceName,
    kind: ServiceType,
    spec: &ServiceSpec,
    refuse: &mut impl FnMut(&str, String, &str),
) {
    match (kind, spec.schedule.as_deref()) {
        (ServiceType::Cron, None) => refuse(
            "/schedule",
            format!("the service `{name}` has no `schedule`"),
            "such as schedule: \"0 3 * * *\"",
        ),
        (ServiceType::Cron, Some(schedule)) => {
            if let Err(error) = schedule_of(schedule) {
                refuse(
                    "/schedule",
                    format!("`{schedule}` is no schedule: {error}"),
                    "five fields: minute, hour, day, month, weekday",
                );
            }
        }
        (_, Some(_)) => refuse(
            "/schedule",
            "only a cron service has a schedule".to_owned(),
            "set type: cron, or leave it out",
        ),
        (_, None) => {}
    }
    if let Some(zone) = spec.time_zone.as_deref()
        && jiff::tz::TimeZone::get(zone).is_err()
    {
        refuse("/timeZone", format!("there is no time zone `{zone}`"), "such as Europe/Berlin");
    }
}

/// Parses a schedule of five fields (crontab(5)).
fn schedule_of(text: &str) -> Result<croner::Cron, croner::errors::CronError> {
    croner::parser::CronParser::builder().seconds(croner::parser::Seconds::Disallowed).build().parse(text)
}

fn ports(kind: ServiceType, spec: &ServiceSpec, refuse: &mut impl FnMut(&str, String, &str)) {
    let ports = spec.ports.as_deref().unwrap_or_default();
    if kind.listens() && ports.is_empty() {
        refuse(
            "/ports",
            "a service that listens has at least one port".to_owned(),
            "such as ports: [{name: http, port: 3000}]",
        );
    }
    for (i, port) in ports.iter().enumerate() {
        if ports[..i].iter().any(|other| other.name == port.name || other.port == port.port) {
            refuse(
                &format!("/ports/{i}"),
                format!("the port `{}` ({}) stands here twice", port.name, port.port),
                "give each its own name and number",
            );
        }
    }
    if let Some(wanted) = spec.health_check.as_ref().and_then(|check| check.port.as_deref())
        && !ports.iter().any(|port| port.name == wanted)
    {
        refuse("/healthCheck/port", format!("there is no port `{wanted}`"), "name one of `ports`");
    }
    if !kind.is_public() && spec.domains.as_ref().is_some_and(|domains| !domains.is_empty()) {
        refuse(
            "/domains",
            "only web and static services have domains".to_owned(),
            "set type: web, or leave them out",
        );
    }
}

/// Paths stay inside the repository, and what builds anew lies in what the build sees.
fn paths(spec: &ServiceSpec, refuse: &mut impl FnMut(&str, String, &str)) {
    let path = spec.source.as_ref().and_then(|source| source.path.as_deref()).unwrap_or_default();
    let build = spec.build.clone().unwrap_or_default();
    let root = spec.static_site.as_ref().and_then(|site| site.root.as_deref()).unwrap_or_default();
    let context = build.context.as_deref();
    for (pointer, path) in
        [("/source/path", path), ("/build/context", context.unwrap_or_default()), ("/static/root", root)]
    {
        if path.starts_with('/') || path.split('/').any(|part| part == "..") {
            refuse(
                pointer,
                format!("`{path}` leaves the repository"),
                "write a path from the root of the repository",
            );
        }
    }
    let sees = context.unwrap_or(path).trim_matches('/');
    for (i, glob) in build.paths.iter().flatten().enumerate() {
        let inside = sees.is_empty() || sees == "." || glob.starts_with(&format!("{sees}/")) || glob == sees;
        if !inside {
            let message = format!("`{glob}` lies outside of what the build sees (`{sees}`)");
            refuse(&format!("/build/paths/{i}"), message, "set build.context: \".\"");
        }
    }
    for (field, globs) in [("paths", &build.paths), ("ignoredPaths", &build.ignored_paths)] {
        for (i, glob) in globs.iter().flatten().enumerate() {
            if let Err(error) = globset::Glob::new(glob) {
                refuse(
                    &format!("/build/{field}/{i}"),
                    format!("`{glob}` is no pattern: {}", error.kind()),
                    "such as services/api/**",
                );
            }
        }
    }
}

fn variables(spec: &ServiceSpec, refuse: &mut impl FnMut(&str, String, &str)) {
    for (name, variable) in spec.env.iter().flatten() {
        let pointer = format!("/env/{name}");
        if name == "PORT" {
            refuse(&pointer, "`PORT` is set by Branchline".to_owned(), "set `ports` instead");
        }
        if let Some(Variable::From(source)) = variable
            && source.secret.is_some() == source.generate.is_some()
        {
            refuse(
                &pointer,
                format!("`{name}` takes one of `secret` and `generate`"),
                "such as {secret: stripe-key}",
            );
        }
    }
    for (name, text) in spec.build.iter().flat_map(|build| build.args.iter().flatten()) {
        let other = Interpolated::parse(text)
            .ok()
            .and_then(|text| text.references().find(|r| r.namespace != ReferenceNamespace::Git).cloned());
        if let Some(reference) = other {
            refuse(
                &format!("/build/args/{name}"),
                format!("{reference} cannot stand in a build"),
                "a build may refer to git.sha, git.shortSha and git.branch",
            );
        }
    }
}

/// Every text of the sum can be cut at its references, and none stands where it would decide what exists.
fn references(sum: &Node, document: &Document<ServiceSpec>) -> Vec<Problem> {
    const NONE: [&str; 7] =
        ["type", "source", "autoDeploy", "schedule", "timeZone", "concurrencyPolicy", "strategy"];
    let mut problems = Vec::new();
    let mut visit = |node: &Node, top: &str| {
        let Some(text) = node.as_str() else { return };
        let refuse = |message: String| Problem::new(placed(node, document), message);
        match Interpolated::parse(text) {
            Err(error) => problems.push(refuse(error.to_string()).hint("write $${{ for the text ${{ itself")),
            Ok(text) if NONE.contains(&top) && text.references().next().is_some() => {
                problems
                    .push(refuse(format!("`{top}` cannot hold references")).hint("write the value itself"));
            }
            Ok(_) => {}
        }
    };
    for (key, node) in sum.entries() {
        walk(node, &mut |node| visit(node, &key.name));
    }
    problems
}

/// Visits a value and everything in it.
pub(super) fn walk<'a>(node: &'a Node, visit: &mut impl FnMut(&'a Node)) {
    visit(node);
    match &node.value {
        NodeValue::List(items) => items.iter().for_each(|item| walk(item, visit)),
        NodeValue::Map(entries) => entries.iter().for_each(|(_, item)| walk(item, visit)),
        _ => {}
    }
}

/// The place of a value of the sum; of a value that no layer sets, the place of the service.
fn place(sum: &Node, pointer: &str, document: &Document<ServiceSpec>) -> Place {
    match sum.at(pointer) {
        Some(node) => placed(node, document),
        None => {
            let parent = pointer.rsplit_once('/').map_or("", |(parent, _)| parent);
            sum.at(parent)
                .filter(|_| !parent.is_empty())
                .map_or_else(|| document.place("/spec").clone(), |node| placed(node, document))
        }
    }
}

fn placed(node: &Node, document: &Document<ServiceSpec>) -> Place {
    if &*node.place.file == "built-in" { document.place("/spec").clone() } else { node.place.clone() }
}
