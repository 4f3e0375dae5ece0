//! What holds for all objects and field sets.

use branchline::merge::{self, Apply, FieldSet, Path, PathElement, Scalar, Schema, Update, same_objects};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};

const NOW: &str = "2026-01-01T10:00:00Z";

fn element() -> impl Strategy<Value = PathElement> {
    let scalar = prop_oneof![
        (-3_i64..100).prop_map(Scalar::Int),
        "[a-c<\"\\\\ü]{0,3}".prop_map(|text| Scalar::Text(text.into())),
        any::<bool>().prop_map(Scalar::Bool),
        Just(Scalar::Null),
    ];
    prop_oneof![
        4 => "[a-d:.\"]{1,2}".prop_map(|name| PathElement::field(&name)),
        2 => btree_map("[ab]", scalar.clone(), 1..3)
            .prop_map(|fields| PathElement::key(fields.into_iter().map(|(name, value)| (name.into(), value)).collect())),
        1 => scalar.prop_map(PathElement::Value),
        1 => (0_i64..4).prop_map(PathElement::Index),
    ]
}

fn set() -> impl Strategy<Value = FieldSet> {
    vec(vec(element(), 1..4).prop_map(Path), 0..12).prop_map(FieldSet::of)
}

/// A configuration of a Deployment from small domains, so that two of them meet. Without empty values: the server
/// drops those, and another manager who applies them again finds them gone and owned, which is a conflict.
fn config() -> impl Strategy<Value = Value> {
    let text = prop_oneof![Just("one"), Just("two")];
    let labels = btree_map("[abc]", text.clone(), 1..3);
    let env = btree_map("[ABC]", text.clone(), 0..3);
    let container = (option::of(text.clone()), env, option::of(vec("[xy]", 1..3)), any::<bool>());
    (option::of(0..3), option::of(labels), btree_map("[mn]", container, 1..3), option::of(Just(true)))
        .prop_map(|(replicas, labels, containers, paused)| {
            let containers = containers.into_iter().map(|(name, (image, env, command, port))| {
                let env: Vec<_> =
                    env.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
                let mut container = json!({"name": name, "env": env});
                set_some(&mut container, "image", image);
                set_some(&mut container, "command", command);
                set_some(&mut container, "ports", port.then(|| json!([{"containerPort": 80}])));
                container
            });
            let template = json!({"spec": {"containers": containers.collect::<Vec<_>>()}});
            let mut object = json!({
                "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": "api"}, "spec": {"template": template}
            });
            set_some(&mut object["metadata"], "labels", labels);
            set_some(&mut object["spec"], "replicas", replicas);
            set_some(&mut object["spec"], "paused", paused);
            object
        })
}

fn set_some(object: &mut Value, name: &str, value: Option<impl serde::Serialize>) {
    if let Some(value) = value {
        object[name] = json!(value);
    }
}

fn applied(manager: &str, live: Option<&Value>, config: &Value) -> Value {
    let options = Apply { manager, force: true, subresource: "", now: NOW };
    let schema = Schema::builtin();
    let mut object = merge::apply(schema, live, config, &options).unwrap();
    schema.normalize(schema.of(&object), &mut object);
    object
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn fields_are_read_as_they_were_written(set in set()) {
        prop_assert_eq!(FieldSet::from_fields_v1(&set.to_fields_v1()).unwrap(), set);
    }

    #[test]
    fn a_set_is_its_paths(set in set()) {
        prop_assert_eq!(set.len(), set.paths().len());
        prop_assert!(set.paths().iter().all(|path| set.contains(path)));
        prop_assert_eq!(FieldSet::of(set.paths()), set);
    }

    #[test]
    fn sets_are_sets((a, b, c) in (set(), set(), set())) {
        prop_assert_eq!(a.union(&b), b.union(&a));
        prop_assert_eq!(a.union(&b).union(&c), a.union(&b.union(&c)));
        prop_assert_eq!(a.intersection(&b), b.intersection(&a));
        prop_assert_eq!(a.union(&a), a.clone());
        prop_assert_eq!(a.intersection(&a), a.clone());
        prop_assert!(a.difference(&a).is_empty());
        prop_assert!(a.difference(&b).intersection(&b).is_empty());
        prop_assert_eq!(a.difference(&b).union(&a.intersection(&b)), a.clone());
        prop_assert!(a.union(&b).covers(&a));
        prop_assert_eq!(a.covers(&b), b.difference(&a).is_empty());
        prop_assert!(a.difference(&b).covers(&a.difference_below(&b)));
    }

    #[test]
    fn applying_twice_changes_nothing((mine, theirs) in (config(), config())) {
        let live = applied("theirs", None, &theirs);
        let once = applied("mine", Some(&live), &mine);
        let twice = applied("mine", Some(&once), &mine);
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn a_forced_apply_has_its_way((mine, theirs) in (config(), config())) {
        let schema = Schema::builtin();
        let live = applied("theirs", None, &theirs);
        let object = applied("mine", Some(&live), &mine);
        let mut wanted = mine.clone();
        schema.normalize(schema.of(&wanted), &mut wanted);
        let changes = merge::compare(schema, &wanted, &object);
        prop_assert!(changes.modified.is_empty() && changes.removed.is_empty(), "{:?}", changes);
        prop_assert!(merge::owned(&object, "mine").covers(&merge::owned(&applied("mine", None, &mine), "mine")));
    }

    #[test]
    fn nobody_owns_what_is_not_there(configs in vec(config(), 1..5)) {
        let schema = Schema::builtin();
        let mut live: Option<Value> = None;
        for (position, config) in configs.iter().enumerate() {
            live = Some(applied(["a", "b", "c"][position % 3], live.as_ref(), config));
        }
        let live = live.unwrap();
        for manager in ["a", "b", "c"] {
            let part = schema.extract(schema.of(&live), &live, &merge::owned(&live, manager));
            let changes = merge::compare(schema, &part, &live);
            prop_assert!(part.is_null() || changes.removed.is_empty(), "{}: {}", manager, part);
        }
    }

    #[test]
    fn when_all_let_go_nothing_is_left(configs in vec(config(), 1..4)) {
        let nothing = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "api"}});
        let mut base = nothing.clone();
        base["metadata"]["annotations"] = json!({"kept": "yes"});
        let managers = ["a", "b", "c"];
        let mut live = applied("base", None, &base);
        let empty = live.clone();
        for (config, manager) in configs.iter().zip(managers) {
            live = applied(manager, Some(&live), config);
        }
        for manager in managers {
            live = applied(manager, Some(&live), &nothing);
        }
        prop_assert!(same_objects(&live, &empty), "{}", live);
        prop_assert_eq!(live["metadata"]["managedFields"].as_array().map(Vec::len), Some(1));
    }

    #[test]
    fn equal_values_never_conflict((mine, theirs) in (config(), config())) {
        let schema = Schema::builtin();
        let live = applied("theirs", None, &theirs);
        let object = applied("mine", Some(&live), &mine);
        let options = Apply { manager: "third", force: false, subresource: "", now: NOW };
        prop_assert!(merge::apply(schema, Some(&object), &mine, &options).is_ok());
    }

    #[test]
    fn an_update_that_changes_nothing_leaves_the_owners_alone((mine, theirs) in (config(), config())) {
        let live = applied("theirs", Some(&applied("mine", None, &mine)), &theirs);
        let options = Update { manager: "someone", subresource: "", now: "2030-01-01T00:00:00Z" };
        prop_assert_eq!(merge::update(Schema::builtin(), Some(&live), &live, &options).unwrap(), live);
    }

    #[test]
    fn an_update_owns_exactly_what_it_changed((before, after) in (config(), config())) {
        let schema = Schema::builtin();
        let live = applied("before", None, &before);
        let mut new = after.clone();
        schema.normalize(schema.of(&new), &mut new);
        let options = Update { manager: "after", subresource: "", now: NOW };
        let object = merge::update(schema, Some(&live), &new, &options).unwrap();
        let changes = schema.compare(schema.of(&new), &live, &new);
        prop_assert_eq!(merge::owned(&object, "after"), changes.added.union(&changes.modified));
        prop_assert!(merge::owned(&object, "before").intersection(&changes.removed).is_empty());
    }
}
