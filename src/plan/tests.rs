use jiff::Timestamp;
use serde_json::json;

use super::brake::{Closed, Reason, Vanished};
use super::make::changed;
use super::*;

fn scope(preview: bool) -> Scope {
    Scope {
        project: "shop".parse().expect("a project name"),
        environment: if preview { "pr-web-7" } else { "staging" }.parse().expect("an environment name"),
        namespace: "shop-staging".parse().expect("a namespace"),
        preview,
    }
}

fn manifest(api_version: &str, kind: &str, name: &str, rest: Value) -> Manifest {
    let mut object = json!({"apiVersion": api_version, "kind": kind,
        "metadata": {"name": name, "namespace": "shop-staging"}});
    if let (Value::Object(object), Value::Object(rest)) = (&mut object, rest) {
        object.extend(rest);
    }
    Manifest::new(object, "templates/test.yaml.hbs", 1).expect("an object")
}

fn deployment(name: &str, image: &str) -> Manifest {
    manifest(
        "apps/v1",
        "Deployment",
        name,
        json!({"spec": {"selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": name, "image": image}]}}}}),
    )
}

fn held(manifest: &Manifest) -> Held {
    Held {
        key: manifest.key().clone(),
        applied: manifest.hash().short(),
        owned: "0".to_owned(),
        uid: "1".to_owned(),
        keep: None,
        yields: Vec::new(),
    }
}

fn unit(name: &str, wanted: Wanted, held: Vec<Held>) -> Unit {
    Unit::new(name, wanted, held)
}

fn make(units: impl IntoIterator<Item = Unit>, brake: &Brake, preview: bool) -> Plan {
    let units: Vec<_> = units.into_iter().map(Arc::new).collect();
    make_of(&units, brake, preview)
}

fn make_of(units: &[Arc<Unit>], brake: &Brake, preview: bool) -> Plan {
    let scope = scope(preview);
    plan(&Request { scope: &scope, units, schema: Schema::builtin(), brake }).expect("a plan")
}

fn brake() -> Brake {
    Brake { max_delete_percent: 30, ..Brake::default() }
}

/// `count` services that each hold a Deployment, of which the first `gone` left.
fn leaving(count: usize, gone: usize) -> Vec<Unit> {
    (0..count)
        .map(|index| {
            let object = deployment(&format!("s{index}"), "app:1");
            let had = vec![held(&object)];
            let wanted = if index < gone { Wanted::Gone } else { Wanted::Objects(vec![object]) };
            unit(&format!("s{index}"), wanted, had)
        })
        .collect()
}

fn reasons(plan: &Plan) -> Vec<Reason> {
    match &plan.verdict {
        Verdict::Go => Vec::new(),
        Verdict::Held(held) => held.reasons.clone(),
    }
}

#[test]
fn planning_again_what_was_applied_changes_nothing() {
    let object = deployment("api", "app:1");
    let units = [unit("api", Wanted::Objects(vec![object.clone()]), vec![held(&object)])];
    let plan = make(units, &brake(), false);
    assert!(!plan.changes());
    insta::assert_snapshot!(plan, @"Plan: 0 to add, 0 to change, 0 to destroy.");
}

#[test]
fn a_reviewer_reads_what_is_made_changed_and_deleted_and_why() {
    let old = deployment("api", "app:1");
    let new = deployment("api", "app:2");
    let ingress = manifest("networking.k8s.io/v1", "Ingress", "api", json!({}));
    let volume = manifest("v1", "PersistentVolumeClaim", "uploads", json!({}));
    let config = manifest("v1", "ConfigMap", "api", json!({"data": {"A": "1"}}));
    let mut api = unit(
        "api",
        Wanted::Objects(vec![new, config.clone()]),
        vec![held(&old), held(&ingress), held(&volume)],
    );
    let mut live = old.object().clone();
    live["spec"]["replicas"] = json!(2);
    live["metadata"]["managedFields"] = json!([{"manager": FIELD_MANAGER, "operation": "Apply",
        "apiVersion": "apps/v1", "fieldsType": "FieldsV1", "time": "2026-11-22T00:00:00Z",
        "fieldsV1": {"f:spec": {"f:selector": {}, "f:template": {"f:metadata": {"f:labels": {"f:app": {}}},
            "f:spec": {"f:containers": {"k:{\"name\":\"api\"}": {".": {}, "f:name": {}, "f:image": {}}}}}}}}]);
    api.live.insert(old.key().clone(), live);
    let broken = unit(
        "worker",
        Wanted::Broken { reason: "services/worker.yaml:4:3: unknown field".into(), standing: vec![] },
        vec![],
    );
    let plan = make([api, broken], &brake(), false);
    insta::assert_snapshot!(plan, @r#"
    api:
      + create ConfigMap/shop-staging/api
      ~ update Deployment/shop-staging/api
          ~ .spec.template.spec.containers[name="api"].image: "app:1" → "app:2"
      - delete Ingress/shop-staging/api  # no longer rendered
        keep PersistentVolumeClaim/shop-staging/uploads  # volumes are never deleted by themselves

    worker: left as it is, services/worker.yaml:4:3: unknown field

    Plan: 1 to add, 1 to change, 1 to destroy.
    "#);
}

#[test]
fn values_of_secrets_are_never_in_a_plan() {
    let secret = |value: &str| json!({"apiVersion": "v1", "kind": "Secret", "data": {"key": value}});
    let changes = diff::between(Schema::builtin(), &secret("b2xk"), &secret("bmV3"));
    assert_eq!(changes, [FieldChange { path: ".data.key".into(), change: Change::Secret }]);
}

#[test]
fn a_changed_job_is_made_anew_and_a_changed_selector_is_refused() {
    let job =
        |image: &str| manifest("batch/v1", "Job", "migrate", json!({"spec": {"template": {"i": image}}}));
    let units = [unit("api", Wanted::Objects(vec![job("2")]), vec![held(&job("1"))])];
    insta::assert_snapshot!(make(units, &brake(), false), @r"
    api:
    -/+ replace Job/shop-staging/migrate  # a Job cannot be changed once it is made

    Plan: 1 to add, 0 to change, 1 to destroy.
    ");
    let change = FieldChange { path: ".spec.selector.matchLabels.app".into(), change: Change::Secret };
    let (action, why) = changed(deployment("api", "x").key(), vec![change]);
    assert_eq!(action, Action::Refuse);
    insta::assert_snapshot!(why, @".spec.selector.matchLabels.app cannot be changed once a Deployment exists; hint: give the object another name, or delete it yourself first");
}

#[test]
fn objects_go_in_stages_and_services_after_those_they_need() {
    let mut web = unit(
        "web",
        Wanted::Objects(vec![
            manifest("networking.k8s.io/v1", "Ingress", "web", json!({})),
            manifest("v1", "Service", "web", json!({})),
            deployment("web", "web:1"),
            manifest("v1", "ServiceAccount", "web", json!({})),
        ]),
        vec![],
    );
    web.after.insert("zebra".into());
    let zebra = unit("zebra", Wanted::Objects(vec![deployment("zebra", "z:1")]), vec![]);
    let own = unit(
        ENVIRONMENT_UNIT,
        Wanted::Objects(vec![manifest("v1", "ResourceQuota", "q", json!({}))]),
        vec![],
    );
    let plan = make([web, zebra, own], &brake(), false);
    let names: Vec<&str> = plan.units.iter().map(|unit| unit.name.as_str()).collect();
    assert_eq!(names, [ENVIRONMENT_UNIT, "zebra", "web"]);
    let kinds: Vec<&str> = plan.units[2].steps.iter().map(|step| step.key.kind.as_str()).collect();
    assert_eq!(kinds, ["ServiceAccount", "Deployment", "Service", "Ingress"]);
    assert_eq!(plan.units[1].images.iter().collect::<Vec<_>>(), ["z:1"]);
    assert_eq!(plan.waves().len(), 3);
}

#[test]
fn a_circle_and_a_shared_object_are_errors_that_name_the_services() {
    let mut one = unit("one", Wanted::Objects(vec![]), vec![]);
    let mut two = unit("two", Wanted::Objects(vec![]), vec![]);
    one.after.insert("two".into());
    two.after.insert("one".into());
    let (scope, schema, brake) = (scope(false), Schema::builtin(), brake());
    let failed =
        plan(&Request { scope: &scope, units: &[Arc::new(one), Arc::new(two)], schema, brake: &brake });
    insta::assert_snapshot!(failed.expect_err("a circle"), @r"
    services depend on each other in a circle: one → two → one
    hint: remove one reference or dependsOn between them
    ");
    let units =
        ["a", "b"].map(|name| Arc::new(unit(name, Wanted::Objects(vec![deployment("api", "x")]), vec![])));
    let failed = plan(&Request { scope: &scope, units: &units, schema, brake: &brake });
    insta::assert_snapshot!(failed.expect_err("two owners"), @r"
    Deployment/shop-staging/api is rendered by both `a` and `b`
    hint: rename one of the services, or the object in its template
    ");
}

#[test]
fn an_object_that_moved_to_another_service_is_not_deleted() {
    let object = deployment("api", "app:1");
    let from = unit("old", Wanted::Gone, vec![held(&object)]);
    let to = unit("new", Wanted::Objects(vec![object]), vec![]);
    let plan = make([from, to], &brake(), false);
    assert_eq!(plan.counts().destroy, 0);
    assert_eq!(plan.unit("old").expect("planned").prune[0].reason, "it belongs to `new` now");
}

#[test]
fn a_broken_service_loses_nothing() {
    let object = deployment("api", "app:1");
    let broken = unit("api", Wanted::Broken { reason: "no".into(), standing: vec![] }, vec![held(&object)]);
    let plan = make([broken], &brake(), false);
    assert!(!plan.changes());
    assert_eq!(reasons(&plan), []);
}

#[test]
fn the_brake_holds_when_all_services_would_go() {
    let plan = make(leaving(2, 2), &brake(), false);
    assert_eq!(reasons(&plan), [Reason::All]);
    let Verdict::Held(held) = &plan.verdict else { panic!("not held") };
    assert_eq!(held.services, ["s0", "s1"]);
    assert_eq!(plan.allowed().counts().destroy, 0);
    assert_eq!(reasons(&make(leaving(2, 1), &brake(), false)), [], "one of two services may leave");
}

#[test]
fn the_brake_counts_a_share_only_from_three_services_on() {
    assert_eq!(reasons(&make(leaving(6, 2), &brake(), false)), []);
    assert_eq!(
        reasons(&make(leaving(6, 3), &brake(), false)),
        [Reason::Share { going: 3, total: 6, limit: 30 }]
    );
    assert_eq!(reasons(&make(leaving(10, 3), &brake(), false)), [], "30 of 100 is not more than 30 percent");
}

#[test]
fn the_brake_holds_a_vanished_environment_and_an_incomplete_reading() {
    let vanished = Brake { vanished: Some(Vanished::Project), ..brake() };
    assert_eq!(reasons(&make(leaving(2, 2), &vanished, false)), [Reason::Vanished(Vanished::Project)]);
    let incomplete = Brake { incomplete: vec!["the list of Job.batch".into()], ..brake() };
    let plan = make(leaving(5, 1), &incomplete, false);
    assert_eq!(reasons(&plan), [Reason::Incomplete("the list of Job.batch".into())]);
    let approved = Brake { approved: Some(plan.id), ..incomplete };
    assert!(make(leaving(5, 1), &approved, false).verdict.is_held(), "no approval makes a reading complete");
    assert_eq!(reasons(&make(leaving(5, 0), &incomplete_only(), false)), [], "nothing would be deleted");
}

#[test]
fn what_was_held_stays_held_however_much_comes_meanwhile() {
    assert_eq!(reasons(&make(leaving(2, 2), &brake(), false)), [Reason::All]);
    assert_eq!(reasons(&make(leaving(4, 2), &brake(), false)), [], "two others have come");
    let asked = Brake { held_before: ["s0".to_owned()].into(), ..brake() };
    let plan = make(leaving(4, 2), &asked, false);
    assert_eq!(reasons(&plan), [Reason::Before]);
    let approved = Brake { approved: Some(plan.id), ..asked };
    assert_eq!(make(leaving(4, 2), &approved, false).verdict, Verdict::Go);
}

fn incomplete_only() -> Brake {
    Brake { incomplete: vec!["the list of Job.batch".into()], ..brake() }
}

#[test]
fn an_approval_is_bound_to_one_plan() {
    let held = make(leaving(3, 3), &brake(), false);
    let approved = Brake { approved: Some(held.id), ..brake() };
    assert_eq!(make(leaving(3, 3), &approved, false).verdict, Verdict::Go);
    assert!(make(leaving(4, 4), &approved, false).verdict.is_held());
}

#[test]
fn a_preview_goes_only_when_its_pull_request_is_proven_closed() {
    let gone = Brake { vanished: Some(Vanished::Environment), ..brake() };
    assert_eq!(reasons(&make(leaving(2, 2), &gone, true)), [Reason::Vanished(Vanished::Environment)]);
    let first: Timestamp = "2026-11-22T10:00:00Z".parse().expect("a time");
    let seen = |seconds| Brake {
        closed: Some(Closed::NotFoundTwice {
            first,
            second: first + std::time::Duration::from_secs(seconds),
        }),
        ..gone.clone()
    };
    assert!(make(leaving(2, 2), &seen(59), true).verdict.is_held());
    assert_eq!(make(leaving(2, 2), &seen(60), true).verdict, Verdict::Go);
    let said = Brake { closed: Some(Closed::SaidByForge), ..gone };
    assert_eq!(make(leaving(9, 9), &said, true).verdict, Verdict::Go);
    assert!(make(leaving(9, 9), &said, false).verdict.is_held(), "only previews are exempt");
}

proptest::proptest! {
    #[test]
    fn a_plan_deletes_only_what_is_held_and_wanted_by_nobody(
        services in proptest::collection::vec((0usize..3, 0usize..6, 0usize..6, 0usize..3), 1..6),
        percent in 0u8..=100,
    ) {
        let object = |index: usize| deployment(&format!("o{index}"), "app:1");
        // each service holds some objects and wants some; an object that another wants already is left to that one
        let mut taken = BTreeSet::new();
        let units: Vec<Arc<Unit>> = services.iter().enumerate().map(|(index, (kind, from, count, shift))| {
            let had = (*from..from + count).map(|object_index| held(&object(object_index))).collect();
            let wants: Vec<Manifest> = (from + shift..from + shift + count)
                .filter(|object_index| taken.insert(*object_index)).map(object).collect();
            let wanted = match kind {
                0 => Wanted::Gone,
                1 => Wanted::Broken { reason: "broken".to_owned(), standing: wants },
                _ => Wanted::Objects(wants),
            };
            Arc::new(unit(&format!("s{index}"), wanted, had))
        }).collect();
        let brake = Brake { max_delete_percent: percent, ..Brake::default() };
        let plan = make_of(&units, &brake, false);
        let wanted: BTreeSet<ObjectKey> = units.iter().filter_map(|unit| match &unit.wanted {
            Wanted::Objects(objects) => Some(objects.iter().map(|object| object.key().clone())),
            _ => None,
        }).flatten().collect();
        for (unit, source) in plan.units.iter().map(|unit| {
            (unit, units.iter().find(|source| source.name == unit.name).expect("planned"))
        }) {
            for step in unit.prune.iter().filter(|step| step.action == Action::Delete) {
                proptest::prop_assert!(source.held.iter().any(|held| held.key == step.key));
                proptest::prop_assert!(!wanted.contains(&step.key));
                let broken = matches!(source.wanted, Wanted::Broken { .. });
                proptest::prop_assert!(!broken);
            }
        }
        let anew = units.iter().map(|known| unit(&known.name, known.wanted.clone(), known.held.to_vec()));
        let (anew, again) = (make(anew, &brake, false), make_of(&units, &brake, false));
        proptest::prop_assert_eq!(again.to_string(), anew.to_string(), "as if it had not been planned before");
        proptest::prop_assert_eq!((plan.id, plan.id), (again.id, anew.id));
        if plan.verdict.is_held() {
            proptest::prop_assert_eq!(plan.allowed().counts().destroy, 0);
        }
    }
}
