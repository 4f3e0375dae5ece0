//! The policy: everything that an object may not say (T7 to T10), each named by its path.

use branchline::render::Manifest;
use branchline::render::policy::{Registries, Rules, check};
use serde_json::{Value, json};

fn manifest(object: Value) -> Manifest {
    Manifest::new(object, "templates/own/10-object.yaml.hbs", 3).expect("an object")
}

fn rules() -> Rules {
    let mut rules = Rules::new("shop");
    rules.hosts.insert("shop.example.com".to_owned());
    rules
}

fn verdict(objects: impl IntoIterator<Item = Value>) -> String {
    verdict_by(&rules(), objects)
}

/// The violations, one a line, without the template's place, which is the same for all.
fn verdict_by(rules: &Rules, objects: impl IntoIterator<Item = Value>) -> String {
    let manifests: Vec<Manifest> = objects.into_iter().map(manifest).collect();
    let lines: Vec<String> = check(&manifests, rules)
        .iter()
        .map(|violation| {
            let text = violation.to_string();
            text.strip_prefix("templates/own/10-object.yaml.hbs:3: ")
                .expect("the place comes first")
                .to_owned()
        })
        .collect();
    lines.join("\n")
}

fn object(api_version: &str, kind: &str, spec: impl Into<Value>) -> Value {
    let spec = spec.into();
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "a", "namespace": "shop"}, "spec": spec})
}

/// A pod that keeps all the rules.
fn pod() -> Value {
    json!({
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{
            "name": "a", "image": "ghcr.io/acme/a:1",
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
        }],
    })
}

fn deployment(pod: &Value) -> Value {
    object("apps/v1", "Deployment", json!({"template": {"spec": pod}}))
}

/// The verdict on a pod with something put into it at a JSON pointer.
fn with(pointer: &str, value: Value) -> String {
    let mut pod = pod();
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
    match pod.pointer_mut(parent).expect("the parent") {
        Value::Object(map) => {
            map.insert(key.to_owned(), value);
        }
        other => panic!("{other} holds no fields"),
    }
    verdict([deployment(&pod)])
}

#[test]
fn a_pod_that_keeps_the_rules_passes() {
    assert_eq!(verdict([deployment(&pod())]), "");
}

#[test]
fn kinds_and_namespaces_of_others_are_refused() {
    insta::assert_snapshot!(verdict([
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "a"}}),
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "a"}}),
        json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "a"}}),
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-system"}}),
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}),
        json!({"apiVersion": "v1", "kind": "List", "metadata": {"name": "a"}, "items": []}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "kube-system"}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}),
        json!({"apiVersion": "extensions/v1beta1", "kind": "Ingress", "metadata": {"name": "a", "namespace": "shop"}}),
    ]), @r"
    ClusterRoleBinding/a: .kind `ClusterRoleBinding` of `rbac.authorization.k8s.io/v1` is not among the kinds that a template may make; hint: docs/templates.md lists them; what belongs to the whole cluster is set up by its operator
    CustomResourceDefinition/a: .kind `CustomResourceDefinition` of `apiextensions.k8s.io/v1` is not among the kinds that a template may make; hint: docs/templates.md lists them; what belongs to the whole cluster is set up by its operator
    PersistentVolume/a: .kind `PersistentVolume` of `v1` is not among the kinds that a template may make; hint: docs/templates.md lists them; what belongs to the whole cluster is set up by its operator
    Namespace/kube-system: is no object of this environment; hint: the environment's own Namespace is made for you
    Namespace/shop: is no object of this environment; hint: the environment's own Namespace is made for you
    List/a: is a list of objects; hint: write each object as a document of its own, split by `---`
    ConfigMap/kube-system/a: .metadata.namespace is `kube-system`, but the environment's is `shop`; hint: write `namespace: {{namespace}}`
    ConfigMap/a: .metadata.namespace is missing; hint: write `namespace: {{namespace}}`
    Ingress/shop/a: .apiVersion is `extensions/v1beta1`, but Ingress is written as `networking.k8s.io/v1`; hint: change apiVersion
    ");
}

#[test]
fn metadata_that_only_the_cluster_or_we_set_is_refused() {
    insta::assert_snapshot!(verdict([json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {
            "name": "Not_A_Name", "namespace": "shop", "generateName": "a-", "finalizers": ["x/y"],
            "ownerReferences": [{"uid": "1"}],
            "labels": {
                "applyset.kubernetes.io/part-of": "x", "branchline.dev/instance": "x", "app.kubernetes.io/managed-by": "helm",
                "ok": "yes", "too long": "x", "number": 1,
            },
            "annotations": {"branchline.dev/deployment": "x", "branchline.dev/prune": "keep", "number": 1},
        },
        "status": {},
    })]), @r#"
    ConfigMap/shop/Not_A_Name: .metadata.generateName is not allowed; hint: a template sets name, namespace, labels and annotations; the rest is the cluster's
    ConfigMap/shop/Not_A_Name: .metadata.finalizers is not allowed; hint: a template sets name, namespace, labels and annotations; the rest is the cluster's
    ConfigMap/shop/Not_A_Name: .metadata.ownerReferences is not allowed; hint: a template sets name, namespace, labels and annotations; the rest is the cluster's
    ConfigMap/shop/Not_A_Name: .metadata.name `Not_A_Name` is no valid name of a ConfigMap; hint: make names with {{k8sName part part limit=63}}
    ConfigMap/shop/Not_A_Name: .metadata.labels["applyset.kubernetes.io/part-of"] is a label that only Branchline sets; hint: choose another name
    ConfigMap/shop/Not_A_Name: .metadata.labels["branchline.dev/instance"] is a label that only Branchline sets; hint: choose another name
    ConfigMap/shop/Not_A_Name: .metadata.labels["app.kubernetes.io/managed-by"] is a label that only Branchline sets; hint: choose another name
    ConfigMap/shop/Not_A_Name: .metadata.labels["too long"] is no valid label; hint: a label's value has up to 63 letters, digits, `-`, `_` and `.`, and is quoted where it could be a number
    ConfigMap/shop/Not_A_Name: .metadata.labels["number"] is no valid label; hint: a label's value has up to 63 letters, digits, `-`, `_` and `.`, and is quoted where it could be a number
    ConfigMap/shop/Not_A_Name: .metadata.annotations["branchline.dev/deployment"] is an annotation that only Branchline sets; hint: choose another name
    ConfigMap/shop/Not_A_Name: .metadata.annotations["number"] is no valid annotation; hint: an annotation's value is a text: write {{quote value}}
    ConfigMap/shop/Not_A_Name: .status is not allowed; hint: the cluster writes it: leave it out
    "#);
}

#[test]
fn one_identity_may_be_made_once_whatever_its_version() {
    let mut rules = rules();
    rules.kinds.insert(("extensions/v1beta1".to_owned(), "Ingress".to_owned()));
    let twice =
        ["networking.k8s.io/v1", "extensions/v1beta1"].map(|version| object(version, "Ingress", json!({})));
    insta::assert_snapshot!(verdict_by(&rules, twice), @"Ingress/shop/a: is made twice, also by templates/own/10-object.yaml.hbs:3; hint: an object has one identity whatever version it is written in: give it another name, or make it once");
}

#[test]
fn sizes_and_names_are_checked_before_the_server_does() {
    let config = |name: &str, annotation: usize, data: usize| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "x".repeat(data)},
            "metadata": {"name": name, "namespace": "shop", "annotations": {"a": "x".repeat(annotation)}}})
    };
    assert_eq!(verdict([config("a", 200 << 10, 700 << 10)]), "");
    insta::assert_snapshot!(verdict([config("a", 257 << 10, 0)]), @"ConfigMap/shop/a: .metadata.annotations have 263169 bytes, more than the 262144 that Kubernetes accepts; hint: put large texts into a ConfigMap");
    insta::assert_snapshot!(verdict([config("a", 0, 1 << 20)]), @"ConfigMap/shop/a: has 1048700 bytes, more than the 1048576 that are sent; hint: split it, or keep large data in a volume");
    assert_eq!(verdict([config(&"a".repeat(253), 0, 0)]), "");
    assert!(verdict([config(&"a".repeat(254), 0, 0)]).contains("no valid name"));
    let cron = |length| {
        let mut cron =
            object("batch/v1", "CronJob", json!({"jobTemplate": {"spec": {"template": {"spec": pod()}}}}));
        cron["metadata"]["name"] = json!("a".repeat(length));
        cron
    };
    assert_eq!(verdict([cron(52)]), "");
    assert!(verdict([cron(53)]).contains("no valid name of a CronJob"));
}

#[test]
fn a_pod_may_not_reach_its_node() {
    insta::assert_snapshot!(with("/hostNetwork", json!(true)), @"Deployment/shop/a: .spec.template.spec.hostNetwork is not allowed; hint: a pod shares no namespace with its node");
    insta::assert_snapshot!(with("/hostPID", json!(true)), @"Deployment/shop/a: .spec.template.spec.hostPID is not allowed; hint: a pod shares no namespace with its node");
    insta::assert_snapshot!(with("/hostIPC", json!(true)), @"Deployment/shop/a: .spec.template.spec.hostIPC is not allowed; hint: a pod shares no namespace with its node");
    insta::assert_snapshot!(with("/nodeName", json!("node-1")), @"Deployment/shop/a: .spec.template.spec.nodeName is not allowed; hint: the scheduler chooses the node; use nodeSelector");
    insta::assert_snapshot!(with("/volumes", json!([{"name": "a", "hostPath": {"path": "/"}}, {"name": "b", "emptyDir": {}}, {"name": "c", "nfs": {}}])), @r"
    Deployment/shop/a: .spec.template.spec.volumes[0].hostPath is a volume type that is not allowed; hint: use emptyDir, configMap, secret, projected, downwardAPI or a PersistentVolumeClaim
    Deployment/shop/a: .spec.template.spec.volumes[2].nfs is a volume type that is not allowed; hint: use emptyDir, configMap, secret, projected, downwardAPI or a PersistentVolumeClaim
    ");
    insta::assert_snapshot!(with("/containers/0/ports", json!([{"containerPort": 80, "hostPort": 80}, {"containerPort": 81, "hostPort": 0}])), @"Deployment/shop/a: .spec.template.spec.containers[0].ports[0].hostPort is not allowed; hint: use a Service");
    insta::assert_snapshot!(with("/containers/0/securityContext/privileged", json!(true)), @"Deployment/shop/a: .spec.template.spec.containers[0].securityContext.privileged is not allowed; hint: a container runs without the node's privileges");
    insta::assert_snapshot!(with("/containers/0/securityContext/procMount", json!("Unmasked")), @"Deployment/shop/a: .spec.template.spec.containers[0].securityContext.procMount must be Default; hint: leave it out");
    insta::assert_snapshot!(with("/securityContext/sysctls", json!([{"name": "kernel.msgmax", "value": "1"}, {"name": "net.ipv4.tcp_syncookies", "value": "1"}])), @"Deployment/shop/a: .spec.template.spec.securityContext.sysctls[0].name `kernel.msgmax` is not among the safe sysctls; hint: leave it out");
    insta::assert_snapshot!(with("/securityContext/windowsOptions", json!({"hostProcess": true})), @"Deployment/shop/a: .spec.template.spec.securityContext.windowsOptions.hostProcess is not allowed; hint: leave it out");
    insta::assert_snapshot!(with("/securityContext/seLinuxOptions", json!({"type": "spc_t", "user": "root"})), @r"
    Deployment/shop/a: .spec.template.spec.securityContext.seLinuxOptions.type is not a container's type; hint: leave it out
    Deployment/shop/a: .spec.template.spec.securityContext.seLinuxOptions.user is not allowed; hint: leave it out
    ");
    insta::assert_snapshot!(with("/containers/0/securityContext/appArmorProfile", json!({"type": "Unconfined"})), @"Deployment/shop/a: .spec.template.spec.containers[0].securityContext.appArmorProfile.type must be RuntimeDefault or Localhost; hint: leave it out");
    insta::assert_snapshot!(with("/containers/0/livenessProbe", json!({"httpGet": {"host": "169.254.169.254", "port": 80}})), @"Deployment/shop/a: .spec.template.spec.containers[0].livenessProbe.httpGet.host is not allowed; hint: a probe asks its own pod: leave it out");
    insta::assert_snapshot!(with("/containers/0/lifecycle", json!({"preStop": {"httpGet": {"host": "10.0.0.1", "port": 80}}})), @"Deployment/shop/a: .spec.template.spec.containers[0].lifecycle.preStop.httpGet.host is not allowed; hint: a probe asks its own pod: leave it out");
    insta::assert_snapshot!(with("/priorityClassName", json!("system-node-critical")), @"Deployment/shop/a: .spec.template.spec.priorityClassName is kept for the cluster's own pods; hint: use a priority class of your own");
    insta::assert_snapshot!(with("/serviceAccountName", json!("admin")), @"Deployment/shop/a: .spec.template.spec.serviceAccountName `admin` is no ServiceAccount of this service; hint: make a ServiceAccount in the same template");
}

#[test]
fn a_pod_runs_with_the_least_rights() {
    insta::assert_snapshot!(with("/securityContext", json!({})), @r"
    Deployment/shop/a: .spec.template.spec.containers[0].securityContext.runAsNonRoot must be true; hint: set it to true, here or on the pod
    Deployment/shop/a: .spec.template.spec.containers[0].securityContext.seccompProfile.type is missing; hint: set it to RuntimeDefault, here or on the pod
    ");
    insta::assert_snapshot!(with("/containers/0/securityContext", json!({})), @r"
    Deployment/shop/a: .spec.template.spec.containers[0].securityContext.allowPrivilegeEscalation must be false; hint: set it to false
    Deployment/shop/a: .spec.template.spec.containers[0].securityContext.capabilities.drop must name ALL; hint: write `drop: [ALL]`
    ");
    insta::assert_snapshot!(with("/containers/0/securityContext/capabilities", json!({"drop": ["ALL"], "add": ["NET_BIND_SERVICE", "SYS_ADMIN"]})), @"Deployment/shop/a: .spec.template.spec.containers[0].securityContext.capabilities.add may not name SYS_ADMIN; hint: only NET_BIND_SERVICE may be added");
    insta::assert_snapshot!(with("/containers/0/securityContext/runAsUser", json!(0)), @"Deployment/shop/a: .spec.template.spec.containers[0].securityContext.runAsUser may not be 0; hint: run as another user, such as 1001");
    insta::assert_snapshot!(with("/containers/0/securityContext/runAsNonRoot", json!(false)), @"Deployment/shop/a: .spec.template.spec.containers[0].securityContext.runAsNonRoot must be true; hint: set it to true, here or on the pod");
    insta::assert_snapshot!(with("/securityContext/runAsUser", json!(0)), @"Deployment/shop/a: .spec.template.spec.securityContext.runAsUser may not be 0; hint: run as another user, such as 1001");
    insta::assert_snapshot!(with("/securityContext/runAsNonRoot", json!(false)), @r"
    Deployment/shop/a: .spec.template.spec.securityContext.runAsNonRoot must be true; hint: set it to true
    Deployment/shop/a: .spec.template.spec.containers[0].securityContext.runAsNonRoot must be true; hint: set it to true, here or on the pod
    ");
    insta::assert_snapshot!(with("/securityContext/seccompProfile", json!({"type": "Unconfined"})), @"Deployment/shop/a: .spec.template.spec.securityContext.seccompProfile.type must be RuntimeDefault or Localhost; hint: set it to RuntimeDefault");
    insta::assert_snapshot!(with("/initContainers", json!([{"name": "i", "image": "a"}])), @r"
    Deployment/shop/a: .spec.template.spec.initContainers[0].securityContext.allowPrivilegeEscalation must be false; hint: set it to false
    Deployment/shop/a: .spec.template.spec.initContainers[0].securityContext.capabilities.drop must name ALL; hint: write `drop: [ALL]`
    ");
    insta::assert_snapshot!(with("/ephemeralContainers", json!([{"name": "e", "image": "a", "securityContext": {"privileged": true, "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}])), @"Deployment/shop/a: .spec.template.spec.ephemeralContainers[0].securityContext.privileged is not allowed; hint: a container runs without the node's privileges");
    insta::assert_snapshot!(with("/containers", json!([])), @"Deployment/shop/a: .spec.template.spec.containers is missing; hint: a pod has at least one container");
}

#[test]
fn limits_are_asked_for_where_the_policy_says_so() {
    let mut rules = rules();
    rules.require_limits = true;
    insta::assert_snapshot!(verdict_by(&rules, [deployment(&pod())]), @r"
    Deployment/shop/a: .spec.template.spec.containers[0].resources.requests.cpu is missing; hint: policy.requireResourceLimits asks for requests and limits: set resources
    Deployment/shop/a: .spec.template.spec.containers[0].resources.requests.memory is missing; hint: policy.requireResourceLimits asks for requests and limits: set resources
    Deployment/shop/a: .spec.template.spec.containers[0].resources.limits.cpu is missing; hint: policy.requireResourceLimits asks for requests and limits: set resources
    Deployment/shop/a: .spec.template.spec.containers[0].resources.limits.memory is missing; hint: policy.requireResourceLimits asks for requests and limits: set resources
    ");
    let mut limited = pod();
    limited["containers"][0]["resources"] =
        json!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}});
    assert_eq!(verdict_by(&rules, [deployment(&limited)]), "");
}

#[test]
fn images_come_from_allowed_registries() {
    let allow = |patterns: &[&str], image: &str| Registries::new(patterns).expect("patterns").allow(image);
    assert!(allow(&[], "anything"));
    assert!(allow(&["111122223333.dkr.ecr.*"], "111122223333.dkr.ecr.eu-central-1.amazonaws.com/shop/api:1"));
    assert!(!allow(&["111122223333.dkr.ecr.*"], "evil.example.com/111122223333.dkr.ecr.x"));
    assert!(allow(&["ghcr.io/acme/*"], "ghcr.io/acme/api:1"));
    assert!(!allow(&["ghcr.io/acme/*"], "ghcr.io/acme-evil/api:1"));
    assert!(!allow(&["ghcr.io/acme/*"], "ghcr.io/acme/team/api"));
    assert!(allow(&["ghcr.io/acme/**"], "ghcr.io/acme/team/api"));
    assert!(allow(&["docker.io"], "debian:12"));
    assert!(allow(&["docker.io/library/debian"], "debian:12"));
    assert!(!allow(&["ghcr.io"], "debian"));
    assert!(allow(&["registry:5000"], "registry:5000/acme/api:1"));
    assert!(!allow(&["localhost"], "localhost.evil.com/a"));
    assert!(
        !allow(&["ghcr.io"], "ghcr.io/Acme/api@sha256:7d1a"),
        "what no registry can hold comes from none"
    );
    let mut rules = rules();
    rules.registries = Registries::new(&["ghcr.io/other/*"]).expect("patterns");
    insta::assert_snapshot!(verdict_by(&rules, [deployment(&pod())]), @"Deployment/shop/a: .spec.template.spec.containers[0].image `ghcr.io/acme/a:1` comes from no allowed registry (ghcr.io/other/*); hint: push it to one of them, or add it to policy.allowedRegistries");
}

#[test]
fn a_service_has_no_address_of_its_own_or_of_others() {
    let service = |spec: Value| verdict([object("v1", "Service", spec)]);
    assert_eq!(service(json!({"selector": {"a": "b"}, "ports": [{"port": 80}]})), "");
    insta::assert_snapshot!(service(json!({"type": "ExternalName", "externalName": "metadata.google.internal"})), @r"
    Service/shop/a: .spec.type may not be ExternalName; hint: give the address to the service as an env value
    Service/shop/a: .spec.externalName is not allowed; hint: leave it out and reach the service through its Ingress
    Service/shop/a: .spec.selector is missing; hint: a Service without a selector can be pointed anywhere: write {{{yaml selector}}} below it
    ");
    insta::assert_snapshot!(service(json!({"type": "LoadBalancer", "loadBalancerSourceRanges": ["0.0.0.0/0"], "selector": {"a": "b"}})), @r"
    Service/shop/a: .spec.type `LoadBalancer` opens a port beyond the cluster; hint: leave it out and reach the service through its Ingress
    Service/shop/a: .spec.loadBalancerSourceRanges is not allowed; hint: leave it out and reach the service through its Ingress
    ");
    insta::assert_snapshot!(service(json!({"type": "NodePort", "externalIPs": ["10.0.0.1"], "selector": {"a": "b"}})), @r"
    Service/shop/a: .spec.type `NodePort` opens a port beyond the cluster; hint: leave it out and reach the service through its Ingress
    Service/shop/a: .spec.externalIPs is not allowed; hint: leave it out and reach the service through its Ingress
    ");
}

#[test]
fn an_ingress_answers_for_hosts_of_its_service_only() {
    let ingress = |annotations: Value, spec: Value| {
        let mut ingress = object("networking.k8s.io/v1", "Ingress", spec);
        ingress["metadata"]["annotations"] = annotations;
        verdict([ingress])
    };
    let own = json!({"rules": [{"host": "shop.example.com"}], "tls": [{"hosts": ["shop.example.com"]}]});
    assert_eq!(ingress(json!({"alb.ingress.kubernetes.io/scheme": "internal"}), own.clone()), "");
    insta::assert_snapshot!(ingress(json!({}), json!({"rules": [{"host": "bank.example.com"}, {}, {"host": "*.example.com"}], "tls": [{"hosts": ["bank.example.com"]}]})), @r"
    Ingress/shop/a: .spec.rules[0].host `bank.example.com` does not belong to this service in this environment; hint: add it to the service's domains
    Ingress/shop/a: .spec.rules[1].host is missing: it would answer for every host; hint: name a host of the service
    Ingress/shop/a: .spec.rules[2].host `*.example.com` does not belong to this service in this environment; hint: add it to the service's domains
    Ingress/shop/a: .spec.tls[0].hosts[0] `bank.example.com` does not belong to this service in this environment; hint: add it to the service's domains
    ");
    insta::assert_snapshot!(ingress(json!({}), json!({"defaultBackend": {"service": {"name": "a"}}, "rules": [{"host": "shop.example.com", "http": {"paths": [{"backend": {"resource": {"kind": "StorageBucket"}}}]}}]})), @r"
    Ingress/shop/a: .spec.defaultBackend is not allowed; hint: name the hosts in rules
    Ingress/shop/a: .spec.rules[0].http.paths[0].backend.resource is not allowed; hint: name a Service as the backend
    ");
    insta::assert_snapshot!(ingress(json!({"nginx.ingress.kubernetes.io/configuration-snippet": "x", "nginx.ingress.kubernetes.io/server-alias": "x", "alb.ingress.kubernetes.io/actions.x": "{}"}), own), @r#"
    Ingress/shop/a: .metadata.annotations["nginx.ingress.kubernetes.io/configuration-snippet"] tells the ingress controller what the Ingress does not show; hint: leave it out
    Ingress/shop/a: .metadata.annotations["nginx.ingress.kubernetes.io/server-alias"] tells the ingress controller what the Ingress does not show; hint: leave it out
    Ingress/shop/a: .metadata.annotations["alb.ingress.kubernetes.io/actions.x"] tells the ingress controller what the Ingress does not show; hint: leave it out
    "#);
}

#[test]
fn a_claim_names_no_volume() {
    let claim = json!({"volumeName": "pv-of-others", "dataSourceRef": {"namespace": "bank", "name": "a"}});
    insta::assert_snapshot!(verdict([object("v1", "PersistentVolumeClaim", claim)]), @r"
    PersistentVolumeClaim/shop/a: .spec.volumeName is not allowed; hint: ask for a size and a class, not for a certain volume
    PersistentVolumeClaim/shop/a: .spec.dataSourceRef.namespace is not allowed; hint: a claim is filled from its own namespace
    ");
}
