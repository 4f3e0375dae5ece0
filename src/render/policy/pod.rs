//! Pods at the level "restricted" of the Pod Security Standards
//! (<https://kubernetes.io/docs/concepts/security/pod-security-standards/>), and what a tenant's pod may not ask for
//! beyond them.

use serde_json::Value;

use super::{Checker, counts, list};

/// The volume types that "restricted" allows.
const VOLUMES: &[&str] = &[
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// The sysctls that "baseline" allows, as of Kubernetes 1.34.
const SYSCTLS: &[&str] = &[
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];

/// The `SELinux` types that "baseline" allows.
const SELINUX_TYPES: &[&str] =
    &["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];

const LEAVE_OUT: &str = "leave it out";

impl Checker<'_> {
    /// Checks a pod template.
    pub(super) fn pod(&mut self, template: &Value, path: &str) {
        let spec = &template["spec"];
        let at = format!("{path}.spec");
        for field in ["hostNetwork", "hostPID", "hostIPC"] {
            self.refuse_set(spec, &at, field, "a pod shares no namespace with its node");
        }
        if counts(&spec["hostUsers"]) {
            self.refuse(&format!("{at}.hostUsers"), "is not allowed", "leave it out or set it to false");
        }
        self.refuse_set(spec, &at, "nodeName", "the scheduler chooses the node; use nodeSelector");
        self.pod_metadata(&template["metadata"], path);
        self.service_account(spec, &at);
        if spec["priorityClassName"].as_str().is_some_and(|name| name.starts_with("system-")) {
            let field = format!("{at}.priorityClassName");
            self.refuse(&field, "is kept for the cluster's own pods", "use a priority class of your own");
        }
        let context = &spec["securityContext"];
        if context["runAsNonRoot"] == Value::Bool(false) {
            self.refuse(&format!("{at}.securityContext.runAsNonRoot"), "must be true", "set it to true");
        }
        if context["runAsUser"].as_i64() == Some(0) {
            let field = format!("{at}.securityContext.runAsUser");
            self.refuse(&field, "may not be 0", "run as another user, such as 1001");
        }
        self.sysctls(context, &at);
        self.profiles(context, &format!("{at}.securityContext"));
        for (index, volume) in list(&spec["volumes"]) {
            self.volume(volume, &format!("{at}.volumes[{index}]"));
        }
        for kind in ["initContainers", "containers", "ephemeralContainers"] {
            for (index, container) in list(&spec[kind]) {
                self.container(container, context, &format!("{at}.{kind}[{index}]"));
            }
        }
        if list(&spec["containers"]).next().is_none() {
            self.refuse(&format!("{at}.containers"), "is missing", "a pod has at least one container");
        }
    }

    fn pod_metadata(&mut self, metadata: &Value, path: &str) {
        for (name, value) in metadata["annotations"].as_object().into_iter().flatten() {
            let field = || format!("{path}.metadata.annotations[{name:?}]");
            let profile = value.as_str().unwrap_or_default();
            if name.starts_with("container.apparmor.security.beta.kubernetes.io/")
                && profile != "runtime/default"
                && !profile.starts_with("localhost/")
            {
                self.refuse(&field(), "turns AppArmor off", LEAVE_OUT);
            }
            if name.starts_with("container.seccomp.security.alpha.kubernetes.io/")
                || name == "seccomp.security.alpha.kubernetes.io/pod"
            {
                self.refuse(&field(), "is not allowed", "set securityContext.seccompProfile");
            }
        }
    }

    fn service_account(&mut self, spec: &Value, at: &str) {
        for field in ["serviceAccountName", "serviceAccount"] {
            let Some(name) = spec[field].as_str() else { continue };
            if name != "default" && !self.accounts.contains(name) {
                self.refuse(
                    &format!("{at}.{field}"),
                    format!("`{name}` is no ServiceAccount of this service"),
                    "make a ServiceAccount in the same template",
                );
            }
        }
    }

    fn sysctls(&mut self, context: &Value, at: &str) {
        for (index, sysctl) in list(&context["sysctls"]) {
            let name = sysctl["name"].as_str().unwrap_or_default();
            if !SYSCTLS.contains(&name) {
                let field = format!("{at}.securityContext.sysctls[{index}].name");
                self.refuse(&field, format!("`{name}` is not among the safe sysctls"), LEAVE_OUT);
            }
        }
    }

    fn volume(&mut self, volume: &Value, at: &str) {
        for (kind, source) in volume.as_object().into_iter().flatten().filter(|(key, _)| *key != "name") {
            let path = format!("{at}.{kind}");
            if !VOLUMES.contains(&kind.as_str()) {
                let hint =
                    "use emptyDir, configMap, secret, projected, downwardAPI or a PersistentVolumeClaim";
                self.refuse(&path, "is a volume type that is not allowed", hint);
            }
            if kind == "ephemeral" {
                self.claim(
                    &source["volumeClaimTemplate"]["spec"],
                    &format!("{path}.volumeClaimTemplate.spec"),
                );
            }
        }
    }

    fn container(&mut self, container: &Value, pod: &Value, at: &str) {
        let context = &container["securityContext"];
        let security = format!("{at}.securityContext");
        self.refuse_set(context, &security, "privileged", "a container runs without the node's privileges");
        if context["allowPrivilegeEscalation"] != Value::Bool(false) {
            let field = format!("{security}.allowPrivilegeEscalation");
            self.refuse(&field, "must be false", "set it to false");
        }
        self.capabilities(&context["capabilities"], &format!("{security}.capabilities"));
        self.identity(context, pod, &security);
        if context["seccompProfile"]["type"].is_null() && pod["seccompProfile"]["type"].is_null() {
            let field = format!("{security}.seccompProfile.type");
            self.refuse(&field, "is missing", "set it to RuntimeDefault, here or on the pod");
        }
        if !matches!(context["procMount"].as_str(), None | Some("Default")) {
            self.refuse(&format!("{security}.procMount"), "must be Default", LEAVE_OUT);
        }
        self.profiles(context, &security);
        for (index, port) in list(&container["ports"]) {
            if port["hostPort"].as_u64().is_some_and(|port| port != 0) {
                let field = format!("{at}.ports[{index}].hostPort");
                self.refuse(&field, "is not allowed", "use a Service");
            }
        }
        self.probes(container, at);
        self.image(container, at);
        self.limits(container, at);
    }

    fn capabilities(&mut self, capabilities: &Value, at: &str) {
        let names =
            |field| list(&capabilities[field]).filter_map(|(_, name)| name.as_str()).collect::<Vec<_>>();
        if !names("drop").contains(&"ALL") {
            self.refuse(&format!("{at}.drop"), "must name ALL", "write `drop: [ALL]`");
        }
        for name in names("add").into_iter().filter(|name| *name != "NET_BIND_SERVICE") {
            self.refuse(
                &format!("{at}.add"),
                format!("may not name {name}"),
                "only NET_BIND_SERVICE may be added",
            );
        }
    }

    /// Checks that the container does not run as root.
    fn identity(&mut self, context: &Value, pod: &Value, at: &str) {
        let not_root =
            if context["runAsNonRoot"].is_null() { &pod["runAsNonRoot"] } else { &context["runAsNonRoot"] };
        if *not_root != Value::Bool(true) {
            self.refuse(&format!("{at}.runAsNonRoot"), "must be true", "set it to true, here or on the pod");
        }
        if context["runAsUser"].as_i64() == Some(0) {
            self.refuse(&format!("{at}.runAsUser"), "may not be 0", "run as another user, such as 1001");
        }
    }

    /// Checks what stands in the same place in a pod's and in a container's security context.
    fn profiles(&mut self, context: &Value, at: &str) {
        let seccomp = context["seccompProfile"]["type"].as_str();
        if !matches!(seccomp, None | Some("RuntimeDefault" | "Localhost")) {
            self.refuse(
                &format!("{at}.seccompProfile.type"),
                "must be RuntimeDefault or Localhost",
                "set it to RuntimeDefault",
            );
        }
        let apparmor = context["appArmorProfile"]["type"].as_str();
        if !matches!(apparmor, None | Some("RuntimeDefault" | "Localhost")) {
            self.refuse(
                &format!("{at}.appArmorProfile.type"),
                "must be RuntimeDefault or Localhost",
                LEAVE_OUT,
            );
        }
        if counts(&context["windowsOptions"]["hostProcess"]) {
            self.refuse(&format!("{at}.windowsOptions.hostProcess"), "is not allowed", LEAVE_OUT);
        }
        let selinux = &context["seLinuxOptions"];
        if !SELINUX_TYPES.contains(&selinux["type"].as_str().unwrap_or_default()) {
            self.refuse(&format!("{at}.seLinuxOptions.type"), "is not a container's type", LEAVE_OUT);
        }
        for field in ["user", "role"] {
            if selinux[field].as_str().is_some_and(|text| !text.is_empty()) {
                self.refuse(&format!("{at}.seLinuxOptions.{field}"), "is not allowed", LEAVE_OUT);
            }
        }
    }

    /// Refuses probes and hooks that make the node call another host ("baseline" since Kubernetes 1.34).
    fn probes(&mut self, container: &Value, at: &str) {
        let handlers =
            ["livenessProbe", "readinessProbe", "startupProbe", "lifecycle/postStart", "lifecycle/preStop"];
        for handler in handlers {
            let Some(probe) = container.pointer(&format!("/{handler}")) else { continue };
            for kind in ["httpGet", "tcpSocket"] {
                if probe[kind]["host"].as_str().is_some_and(|host| !host.is_empty()) {
                    let field = format!("{at}.{}.{kind}.host", handler.replace('/', "."));
                    self.refuse(&field, "is not allowed", "a probe asks its own pod: leave it out");
                }
            }
        }
    }

    fn image(&mut self, container: &Value, at: &str) {
        let field = format!("{at}.image");
        match container["image"].as_str() {
            None | Some("") => self.refuse(&field, "is missing", "write `image: {{image}}`"),
            Some(image) if !self.rules.registries.allow(image) => {
                let message =
                    format!("`{image}` comes from no allowed registry ({})", self.rules.registries.shown());
                self.refuse(&field, message, "push it to one of them, or add it to policy.allowedRegistries");
            }
            Some(_) => {}
        }
    }

    fn limits(&mut self, container: &Value, at: &str) {
        if !self.rules.require_limits {
            return;
        }
        for (kind, resource) in
            [("requests", "cpu"), ("requests", "memory"), ("limits", "cpu"), ("limits", "memory")]
        {
            if container["resources"][kind][resource].is_null() {
                let field = format!("{at}.resources.{kind}.{resource}");
                self.refuse(
                    &field,
                    "is missing",
                    "policy.requireResourceLimits asks for requests and limits: set resources",
                );
            }
        }
    }
}
