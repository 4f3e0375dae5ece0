//! The hosts under which services are reached, and the URLs that people click.

use super::{Environment, Inputs, Runtime};
use crate::config::{Effective, Project};
use crate::name::{LABEL, ServiceName, k8s_name};

/// How hosts become URLs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosts {
    /// `http` or `https`.
    pub scheme: String,
    /// The port, where it is not the scheme's own.
    pub port: Option<u16>,
}

impl Hosts {
    /// The URL of a host. On the process runtime, hosts below `localhost` are served by the proxy of this machine, which
    /// speaks plain HTTP.
    #[must_use]
    pub fn url(&self, runtime: Runtime, host: &str) -> String {
        let local = host == "localhost" || host.ends_with(".localhost");
        match (local, self.port.filter(|_| runtime == Runtime::Process)) {
            (true, Some(port)) => format!("http://{host}:{port}"),
            (true, None) => format!("http://{host}"),
            (false, _) => format!("{}://{host}", self.scheme),
        }
    }
}

/// The hosts of a service: the one it is given, then those that the config names for this environment.
pub(super) fn of_service(
    inputs: &Inputs<'_>,
    project: &Project,
    environment: &Environment,
    service: &ServiceName,
    effective: &Effective,
) -> Vec<String> {
    if !effective.kind.is_public() {
        return Vec::new();
    }
    let (base, pattern) = inputs.config.domain();
    let preview = project.document.spec.previews.as_ref().and_then(|previews| previews.domain.as_deref());
    let pattern = if environment.preview.is_some() { preview.unwrap_or(pattern) } else { pattern };
    let part = |name: &str| k8s_name(&[name], LABEL);
    let host = pattern
        .replace("{service}", &part(service.as_str()))
        .replace("{project}", &part(project.name.as_str()))
        .replace("{environment}", environment.name.as_str())
        .replace("{base}", base);
    let (label, rest) = host.split_once('.').unwrap_or((&host, ""));
    let label = k8s_name(&[label], LABEL);
    let given = if rest.is_empty() { label } else { format!("{label}.{rest}") };
    let mut hosts = vec![given];
    if owns_domains(project, environment, effective) {
        hosts.extend(effective.spec.domains.iter().flatten().map(|domain| domain.host.to_lowercase()));
    }
    hosts
}

/// Whether the domains of a service belong to this environment: to the one whose patch names them, and to the last
/// environment in the order of promotion when the service itself does. A preview never takes a domain.
pub(super) fn owns_domains(project: &Project, environment: &Environment, effective: &Effective) -> bool {
    let Some(domains) = effective.node.get("domains").filter(|_| environment.preview.is_none()) else {
        return false;
    };
    let patched = project
        .environments
        .get(&environment.name)
        .is_some_and(|e| e.document.node.place.file == domains.place.file);
    patched || project.ordered_environments().last().is_some_and(|last| **last == environment.name)
}
