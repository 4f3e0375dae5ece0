//! Laws: a value never becomes anything but itself (T1, T2), and rendering is a function (T6).

use std::sync::LazyLock;

use branchline::render::{TemplateSet, render};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{api, made, own, with_files};

/// Every position that a template can print a value in.
const POSITIONS: &str = "\
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{name}} # {{params.text}}
  namespace: {{namespace}}
data:
  plain: {{params.text}}
  quoted: {{quote params.text}}
  joined: {{concat \"<\" params.text \">\"}}
  chosen: {{default params.text \"x\"}}
  encoded: {{json params.text}}
  {{concat \"key \" params.text}}: {{params.text}}
  {{> line text=params.text}}
lists:
  - {{params.text}}
  - [{{params.text}}, {{params.text}}]
  - {a: {{params.text}}, b: 1}
  - a: {{params.text}}
    b: {{params.text}}
  - [
      {{params.text}},
      x
    ]
{{#each params.list}}
  - {{this}}
{{/each}}
structures:
  block:
    {{{yaml params}}}
  listed:
    - {{{yaml params}}}
  inline: {{{json params}}}
";

/// Texts made to be read as something else.
const HOSTILE: &[&str] = &[
    "\nkind: ClusterRole",
    "\n---\n",
    "...",
    "\"",
    "'",
    ": ",
    " #",
    "{{name}}",
    "{{{yaml this}}}",
    "*a",
    "&a",
    "!!int 1",
    "%YAML 1.1",
    "@",
    "`",
    "- ",
    "? ",
    "| ",
    "> ",
    "~",
    "no",
    "on",
    "0755",
    "1_0",
    "0x1F",
    "1e3",
    ".inf",
    "12:30:45",
    "2026-11-22",
    "\u{85}",
    "\u{2028}",
    "\u{feff}",
    "\u{fffe}",
    "\u{7f}",
    "\0",
    "\r",
    "\t",
    "\\",
    "\\u0041",
    "\u{F0001}",
    "\u{10FFFD}",
    "}}",
    "]",
    "}",
    ",",
    "<<",
    "=",
    "null",
    "",
];

fn texts() -> impl Strategy<Value = String> {
    let any = proptest::collection::vec(any::<char>(), 0..24).prop_map(String::from_iter);
    let hostile =
        proptest::collection::vec(proptest::sample::select(HOSTILE), 1..5).prop_map(|parts| parts.concat());
    prop_oneof![any, hostile]
}

/// A JSON value of texts, numbers and structures.
fn structures() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        texts().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(texts(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Compiled once: what is held here is rendering.
static SET: LazyLock<TemplateSet> = LazyLock::new(|| {
    with_files(&[
        ("own/10-object.yaml.hbs", POSITIONS),
        ("own/partials/line.yaml.hbs", "partial: {{text}}\n"),
    ])
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_text_in_any_position_stays_that_text(text in texts()) {
        let mut values = api();
        let params = json!({"text": text, "list": [text, text]});
        values["params"] = params.clone();
        let made = render(&SET, "own", &values).map_err(|e| TestCaseError::fail(format!("{e:?}")))?;
        prop_assert_eq!(made.len(), 1);
        let object = made[0].object();
        prop_assert_eq!(&object["metadata"]["name"], "api");
        let data = &object["data"];
        for key in ["plain", "quoted", "chosen", "partial", &format!("key {text}")] {
            prop_assert_eq!(&data[key], &text, "{}", key);
        }
        prop_assert_eq!(&data["joined"], &format!("<{text}>"));
        let encoded: Value = serde_json::from_str(data["encoded"].as_str().expect("a text")).unwrap_or_default();
prop_assert_eq!(&encoded, &text);
        prop_assert_eq!(&object["lists"], &json!([
            text, [text, text], {"a": text, "b": 1}, {"a": text, "b": text}, [text, "x"], text, text
        ]));
        prop_assert_eq!(&object["structures"], &json!({"block": params, "listed": [params], "inline": params}));
    }

    #[test]
    fn any_structure_is_printed_as_itself(structure in structures()) {
        static SET: LazyLock<TemplateSet> = LazyLock::new(|| own("apiVersion: v1\nkind: X\nmetadata:\n  name: x\na:\n  {{{yaml params.it}}}\nb: {{{json params.it}}}\n"));
        let mut values = api();
        values["params"] = json!({"it": structure});
        let made = render(&SET, "own", &values).map_err(|e| TestCaseError::fail(format!("{e:?}")))?;
        prop_assert_eq!(&made[0].object()["a"], &structure);
        prop_assert_eq!(&made[0].object()["b"], &structure);
    }

    #[test]
    fn any_text_in_a_service_changes_only_where_it_stands(text in texts()) {
        let mut values = api();
        values["env"][0]["value"] = json!(text);
        values["service"]["command"] = json!([text]);
        let hostile = made("web", &values);
        let peaceful = made("web", &api());
        prop_assert_eq!(hostile.len(), peaceful.len());
        for (hostile, peaceful) in hostile.iter().zip(&peaceful) {
            let mut object = hostile.object().clone();
            if let Some(container) = object.pointer_mut("/spec/template/spec/containers/0") {
                prop_assert_eq!(&container["env"][1]["value"], &text);
                prop_assert_eq!(&container["command"], &json!([text]));
                container["env"][1]["value"] = json!("info");
                container["command"] = json!(["npm", "start"]);
            }
            prop_assert_eq!(&object, peaceful.object());
        }
    }
}

#[test]
fn rendering_twice_makes_the_same_bytes() {
    let bytes = || {
        let set = TemplateSet::load(&[], None);
        let made = render(&set, "web", &api()).expect("renders");
        made.iter().map(|m| format!("{}{}{}", m.place(), m.object(), m.hash())).collect::<Vec<_>>()
    };
    assert_eq!(bytes(), bytes());
}
