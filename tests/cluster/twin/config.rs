//! Random configurations: small domains, so that managers meet, agree and disagree.

use serde_json::{Map, Value, json};

use super::random::Random;

/// A kind that the twin plays with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) api_version: &'static str,
    pub(crate) name: &'static str,
    pub(crate) plural: &'static str,
    fill: fn(&mut Random, &mut Map<String, Value>, bool),
}

/// All kinds, the common ones more than once.
pub(crate) const KINDS: [Kind; 10] = [
    Kind { api_version: "apps/v1", name: "Deployment", plural: "deployments", fill: deployment },
    Kind { api_version: "apps/v1", name: "Deployment", plural: "deployments", fill: deployment },
    Kind { api_version: "v1", name: "Service", plural: "services", fill: service },
    Kind { api_version: "v1", name: "Service", plural: "services", fill: service },
    Kind { api_version: "v1", name: "ConfigMap", plural: "configmaps", fill: config_map },
    Kind { api_version: "v1", name: "Secret", plural: "secrets", fill: secret },
    Kind { api_version: "networking.k8s.io/v1", name: "Ingress", plural: "ingresses", fill: ingress },
    Kind { api_version: "batch/v1", name: "CronJob", plural: "cronjobs", fill: cron_job },
    Kind { api_version: "v1", name: "ServiceAccount", plural: "serviceaccounts", fill: service_account },
    Kind {
        api_version: "networking.k8s.io/v1",
        name: "NetworkPolicy",
        plural: "networkpolicies",
        fill: network_policy,
    },
];

impl Kind {
    /// The resource as [`World::path`](crate::cluster::harness::World::path) names it.
    pub(crate) fn resource(&self) -> String {
        format!("{}/{}", self.api_version, self.plural)
    }

    /// A configuration: with all that the kind requires when `whole`, else any part of one.
    pub(crate) fn config(&self, random: &mut Random, name: &str, whole: bool) -> Value {
        let mut metadata = Map::new();
        metadata.insert("name".into(), name.into());
        if random.percent(50) {
            metadata.insert("labels".into(), texts(random, &["app", "team", "tier"]));
        }
        // Controllers write annotations on what they control: there nobody else does, or the order of writes would show.
        if random.percent(30) && !matches!(self.name, "Deployment" | "CronJob") {
            metadata.insert("annotations".into(), texts(random, &["note", "owner", "why"]));
        }
        if random.percent(10) {
            metadata.insert(
                "finalizers".into(),
                json!([*random.pick(&["branchline.dev/a", "branchline.dev/b"])]),
            );
        }
        let mut object = Map::new();
        object.insert("apiVersion".into(), self.api_version.into());
        object.insert("kind".into(), self.name.into());
        object.insert("metadata".into(), metadata.into());
        (self.fill)(random, &mut object, whole);
        object.into()
    }
}

/// Some of these keys with one of three values.
fn texts(random: &mut Random, keys: &[&str]) -> Value {
    let mut map = Map::new();
    for key in keys {
        if random.percent(50) {
            map.insert((*key).into(), (*random.pick(&["one", "two", ""])).into());
        }
    }
    map.into()
}

/// Sets a field in so many of a hundred cases.
fn maybe(random: &mut Random, map: &mut Map<String, Value>, chance: usize, name: &str, choices: &[Value]) {
    if random.percent(chance) {
        map.insert(name.into(), random.pick(choices).clone());
    }
}

/// Some of these, in any order.
fn some(random: &mut Random, most: usize, items: &[Value]) -> Vec<Value> {
    let mut chosen: Vec<Value> = Vec::new();
    for _ in 0..random.below(most + 1) {
        let item = random.pick(items).clone();
        if !chosen.contains(&item) {
            chosen.push(item);
        }
    }
    chosen
}

fn config_map(random: &mut Random, object: &mut Map<String, Value>, _whole: bool) {
    if random.percent(80) {
        object.insert("data".into(), texts(random, &["a", "b", "c", "d"]));
    }
    if random.percent(20) {
        object.insert("binaryData".into(), json!({"x": *random.pick(&["AAAA", "AAEC"])}));
    }
    maybe(random, object, 3, "immutable", &[json!(true), json!(false)]);
}

fn secret(random: &mut Random, object: &mut Map<String, Value>, _whole: bool) {
    if random.percent(80) {
        object.insert("data".into(), json!({"key": *random.pick(&["AAAA", "AAEC"]), "z": "AA=="}));
    }
    maybe(random, object, 30, "type", &[json!("Opaque")]);
}

fn service_account(random: &mut Random, object: &mut Map<String, Value>, _whole: bool) {
    maybe(random, object, 40, "automountServiceAccountToken", &[json!(true), json!(false)]);
    if random.percent(60) {
        let names = some(
            random,
            3,
            &[json!({"name": "pull-a"}), json!({"name": "pull-b"}), json!({"name": "pull-c"})],
        );
        object.insert("imagePullSecrets".into(), names.into());
    }
}

fn service(random: &mut Random, object: &mut Map<String, Value>, whole: bool) {
    let mut spec = Map::new();
    if whole || random.percent(50) {
        let web =
            json!({"name": "web", "port": 80, "targetPort": random.pick(&[json!(8080), json!("http")])});
        let admin = json!({"name": "admin", "port": 81, "protocol": "TCP"});
        let dns = json!({"name": "dns", "port": 80, "protocol": "UDP"});
        let mut ports = some(random, 3, &[web.clone(), admin, dns]);
        if whole && ports.is_empty() {
            ports.push(web);
        }
        spec.insert("ports".into(), ports.into());
    }
    if random.percent(60) {
        spec.insert("selector".into(), texts(random, &["app", "tier"]));
    }
    maybe(random, &mut spec, 20, "type", &[json!("ClusterIP")]);
    maybe(random, &mut spec, 20, "sessionAffinity", &[json!("None"), json!("ClientIP")]);
    maybe(random, &mut spec, 20, "publishNotReadyAddresses", &[json!(true), json!(false)]);
    if whole || !spec.is_empty() {
        object.insert("spec".into(), spec.into());
    }
}

fn ingress(random: &mut Random, object: &mut Map<String, Value>, whole: bool) {
    let mut spec = Map::new();
    let backend = |name: &str| json!({"service": {"name": name, "port": {"name": "http"}}});
    let rule = |host: &str, service: &str| json!({"host": host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend(service)}]}});
    if whole || random.percent(40) {
        spec.insert("defaultBackend".into(), backend(random.pick::<&str>(&["web", "api"])));
    }
    if random.percent(60) {
        let rules =
            some(random, 2, &[rule("a.example", "web"), rule("b.example", "web"), rule("a.example", "api")]);
        spec.insert("rules".into(), rules.into());
    }
    maybe(random, &mut spec, 30, "ingressClassName", &[json!("one"), json!("two")]);
    if random.percent(30) {
        spec.insert(
            "tls".into(),
            json!([{"hosts": ["a.example"], "secretName": *random.pick(&["tls", "cert"])}]),
        );
    }
    if whole || !spec.is_empty() {
        object.insert("spec".into(), spec.into());
    }
}

fn network_policy(random: &mut Random, object: &mut Map<String, Value>, whole: bool) {
    let mut spec = Map::new();
    if whole || random.percent(40) {
        spec.insert("podSelector".into(), json!({"matchLabels": texts(random, &["app"])}));
    }
    if random.percent(50) {
        spec.insert("policyTypes".into(), some(random, 2, &[json!("Ingress"), json!("Egress")]).into());
    }
    if random.percent(50) {
        let rules = [
            json!({"from": [{"podSelector": {}}]}),
            json!({"ports": [{"protocol": "TCP", "port": 80}]}),
            json!({}),
        ];
        spec.insert("ingress".into(), some(random, 2, &rules).into());
    }
    if whole || !spec.is_empty() {
        object.insert("spec".into(), spec.into());
    }
}

fn deployment(random: &mut Random, object: &mut Map<String, Value>, whole: bool) {
    let mut spec = Map::new();
    if whole || random.percent(20) {
        spec.insert("selector".into(), json!({"matchLabels": {"app": "one"}}));
    }
    // Nothing starts: the twin is about the objects.
    maybe(random, &mut spec, 40, "replicas", &[json!(0), json!(1)]);
    if whole {
        spec.entry("replicas").or_insert(json!(0));
    }
    maybe(random, &mut spec, 20, "minReadySeconds", &[json!(0), json!(5), json!(10)]);
    maybe(random, &mut spec, 20, "revisionHistoryLimit", &[json!(0), json!(3)]);
    maybe(random, &mut spec, 20, "paused", &[json!(true), json!(false)]);
    if random.percent(20) {
        let rolling = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": random.pick(&[json!(1), json!("50%")])}});
        spec.insert("strategy".into(), rolling);
    }
    if whole || random.percent(60) {
        spec.insert("template".into(), template(random, whole, false));
    }
    object.insert("spec".into(), spec.into());
}

fn cron_job(random: &mut Random, object: &mut Map<String, Value>, whole: bool) {
    let mut spec = Map::new();
    maybe(
        random,
        &mut spec,
        if whole { 100 } else { 30 },
        "schedule",
        &[json!("0 0 1 1 *"), json!("0 0 2 1 *")],
    );
    maybe(random, &mut spec, 30, "suspend", &[json!(true), json!(false)]);
    maybe(random, &mut spec, 30, "concurrencyPolicy", &[json!("Allow"), json!("Forbid")]);
    maybe(random, &mut spec, 20, "timeZone", &[json!("Etc/UTC")]);
    if whole || random.percent(50) {
        let mut job = Map::new();
        maybe(random, &mut job, 30, "backoffLimit", &[json!(0), json!(2)]);
        job.insert("template".into(), template(random, whole, true));
        spec.insert("jobTemplate".into(), json!({"spec": job}));
    }
    object.insert("spec".into(), spec.into());
}

fn template(random: &mut Random, whole: bool, job: bool) -> Value {
    let mut metadata = Map::new();
    if whole || random.percent(30) {
        metadata.insert("labels".into(), json!({"app": "one"}));
    }
    let mut spec = Map::new();
    if job && whole {
        spec.insert("restartPolicy".into(), (*random.pick(&["Never", "OnFailure"])).into());
    }
    maybe(random, &mut spec, 15, "terminationGracePeriodSeconds", &[json!(5), json!(30)]);
    maybe(random, &mut spec, 15, "automountServiceAccountToken", &[json!(true), json!(false)]);
    maybe(random, &mut spec, 10, "hostNetwork", &[json!(false)]);
    if random.percent(15) {
        spec.insert("nodeSelector".into(), texts(random, &["zone", "disk"]));
    }
    if random.percent(15) {
        let volumes = [
            json!({"name": "tmp", "emptyDir": {}}),
            json!({"name": "conf", "configMap": {"name": "settings"}}),
        ];
        spec.insert("volumes".into(), some(random, 2, &volumes).into());
    }
    if random.percent(15) {
        let tolerations = [json!({"key": "a", "operator": "Exists"}), json!({"key": "b", "value": "x"})];
        spec.insert("tolerations".into(), some(random, 2, &tolerations).into());
    }
    let mut containers = Vec::new();
    if whole {
        containers.push(container(random, "main", true));
    }
    for name in ["main", "side"] {
        if random.percent(40) && !(whole && name == "main") {
            let complete = whole || random.percent(70);
            containers.push(container(random, name, complete));
        }
    }
    if random.percent(50) {
        containers.reverse();
    }
    spec.insert("containers".into(), containers.into());
    let mut template = Map::new();
    if !metadata.is_empty() {
        template.insert("metadata".into(), metadata.into());
    }
    template.insert("spec".into(), spec.into());
    template.into()
}

fn container(random: &mut Random, name: &str, whole: bool) -> Value {
    let mut container = Map::new();
    container.insert("name".into(), name.into());
    maybe(random, &mut container, if whole { 100 } else { 30 }, "image", &[json!("app:1"), json!("app:2")]);
    maybe(random, &mut container, 20, "imagePullPolicy", &[json!("Always"), json!("IfNotPresent")]);
    maybe(random, &mut container, 20, "command", &[json!(["run"]), json!(["run", "it"]), json!([])]);
    if random.percent(40) {
        let env = [
            json!({"name": "A", "value": "1"}),
            json!({"name": "B", "value": "2"}),
            json!({"name": "C"}),
            json!({"name": "D", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}}),
        ];
        container.insert("env".into(), some(random, 4, &env).into());
    }
    if random.percent(40) {
        let ports = [
            json!({"containerPort": 80}),
            json!({"containerPort": 80, "protocol": "UDP"}),
            json!({"containerPort": 81, "name": "admin"}),
        ];
        container.insert("ports".into(), some(random, 3, &ports).into());
    }
    if random.percent(30) {
        let memory = *random.pick(&["64Mi", "128Mi"]);
        container
            .insert("resources".into(), json!({"limits": {"memory": memory}, "requests": {"cpu": "10m"}}));
    }
    if random.percent(15) {
        let period = *random.pick(&[1, 5]);
        container.insert(
            "readinessProbe".into(),
            json!({"httpGet": {"path": "/", "port": 80}, "periodSeconds": period}),
        );
    }
    if random.percent(15) {
        container.insert("securityContext".into(), json!({"allowPrivilegeEscalation": false}));
    }
    container.into()
}
