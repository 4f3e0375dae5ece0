//! Services and Ingresses: nobody answers under a name or an address that is not theirs.

use serde_json::Value;

use super::{Checker, counts, list};

/// Parts of annotation names by which an ingress controller is told something that the Ingress itself does not show:
/// text for its configuration, further hosts, or other targets.
const INGRESS_ANNOTATIONS: &[&str] = &[
    "snippet",
    "server-alias",
    "auth-url",
    "auth-signin",
    "custom-http-errors",
    "alb.ingress.kubernetes.io/actions.",
    "alb.ingress.kubernetes.io/conditions.",
    "alb.ingress.kubernetes.io/transforms.",
    "upstream-vhost",
    "mirror-",
];

impl Checker<'_> {
    /// Checks a Service.
    pub(super) fn service(&mut self, spec: &Value) {
        match spec["type"].as_str() {
            None | Some("ClusterIP") => {}
            Some("ExternalName") => {
                self.refuse(
                    ".spec.type",
                    "may not be ExternalName",
                    "give the address to the service as an env value",
                );
            }
            Some(other) => {
                let message = format!("`{other}` opens a port beyond the cluster");
                self.refuse(".spec.type", message, "leave it out and reach the service through its Ingress");
            }
        }
        for field in
            ["externalName", "externalIPs", "loadBalancerIP", "loadBalancerSourceRanges", "loadBalancerClass"]
        {
            self.refuse_set(spec, ".spec", field, "leave it out and reach the service through its Ingress");
        }
        if !counts(&spec["selector"]) {
            self.refuse(
                ".spec.selector",
                "is missing",
                "a Service without a selector can be pointed anywhere: write {{{yaml selector}}} below it",
            );
        }
    }

    /// Checks an Ingress.
    pub(super) fn ingress(&mut self, spec: &Value) {
        let manifest = self.manifest;
        for (name, _) in manifest.object()["metadata"]["annotations"].as_object().into_iter().flatten() {
            if INGRESS_ANNOTATIONS.iter().any(|part| name.contains(part)) {
                self.refuse(
                    &format!(".metadata.annotations[{name:?}]"),
                    "tells the ingress controller what the Ingress does not show",
                    "leave it out",
                );
            }
        }
        self.refuse_set(spec, ".spec", "defaultBackend", "name the hosts in rules");
        for (index, rule) in list(&spec["rules"]) {
            let at = format!(".spec.rules[{index}]");
            self.host(rule["host"].as_str(), &format!("{at}.host"));
            for (index, path) in list(&rule["http"]["paths"]) {
                let at = format!("{at}.http.paths[{index}].backend");
                self.refuse_set(&path["backend"], &at, "resource", "name a Service as the backend");
            }
        }
        for (index, tls) in list(&spec["tls"]) {
            for (inner, host) in list(&tls["hosts"]) {
                self.host(host.as_str(), &format!(".spec.tls[{index}].hosts[{inner}]"));
            }
        }
    }

    fn host(&mut self, host: Option<&str>, at: &str) {
        match host {
            None | Some("") => {
                self.refuse(at, "is missing: it would answer for every host", "name a host of the service");
            }
            Some(host) if !self.rules.hosts.contains(host) => {
                let message = format!("`{host}` does not belong to this service in this environment");
                self.refuse(at, message, "add it to the service's domains");
            }
            Some(_) => {}
        }
    }
}
