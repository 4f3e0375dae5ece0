use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const HEAD: &str = "3f2c1aa000000000000000000000000000000000";

fn payload(more: &Value) -> Vec<u8> {
    let mut whole = json!({
        "repository": { "id": 7, "full_name": "acme/api", "owner": { "login": "acme" } },
        "sender": { "login": "ada", "id": 1 },
    });
    let (Some(whole_map), Some(more)) = (whole.as_object_mut(), more.as_object()) else { unreachable!() };
    whole_map.extend(more.clone());
    whole.to_string().into_bytes()
}

fn what(event: &str, more: &Value) -> Option<What> {
    read(event, &payload(more)).unwrap().map(|notice| notice.what)
}

#[test]
fn a_push_names_the_repository_by_id_and_where_the_ref_points_now() {
    let notice = read("push", &payload(&json!({ "ref": "refs/heads/main", "after": HEAD, "commits": [] })));
    let notice = notice.unwrap().unwrap();
    assert_eq!(notice.repository, Some(RepositoryId { id: 7, slug: "acme/api".parse().unwrap() }));
    assert_eq!(notice.actor.as_deref(), Some("ada"));
    let after = Some(HEAD.parse().unwrap());
    assert_eq!(notice.what, What::Push { reference: "refs/heads/main".to_owned(), before: None, after });
}

#[test]
fn a_branch_that_is_gone_points_nowhere() {
    let gone = json!({ "ref": "refs/heads/x", "before": HEAD, "after": "0".repeat(40), "deleted": true });
    let reference = "refs/heads/x".to_owned();
    let before = Some(HEAD.parse().unwrap());
    assert_eq!(what("push", &gone), Some(What::Push { reference, before, after: None }));
    let deleted = json!({ "ref": "x", "ref_type": "branch" });
    assert_eq!(what("delete", &deleted), Some(What::Deleted { reference: "x".to_owned() }));
}

#[test]
fn buttons_comments_and_merge_groups_are_heard_and_our_own_echo_is_not() {
    let run = json!({ "name": "branchline", "head_sha": HEAD, "external_id": "key" });
    let head: Revision = HEAD.parse().unwrap();
    let pressed = json!({ "action": "requested_action", "check_run": run, "requested_action": { "identifier": "approve" } });
    let Some(What::CheckAction { identifier, external_id, .. }) = what("check_run", &pressed) else {
        panic!("a button is heard")
    };
    assert_eq!((identifier.as_str(), external_id.as_deref()), ("approve", Some("key")));
    assert!(what("check_run", &json!({ "action": "rerequested", "check_run": run })).is_some());
    assert_eq!(what("check_run", &json!({ "action": "completed", "check_run": run })), None);
    let suite = json!({ "action": "rerequested", "check_suite": { "head_sha": HEAD } });
    assert_eq!(what("check_suite", &suite), Some(What::SuiteRerequested { head: head.clone() }));
    let group = json!({ "action": "checks_requested", "merge_group": { "head_sha": HEAD } });
    assert_eq!(
        what("merge_group", &group),
        Some(What::MergeGroup { action: "checks_requested".to_owned(), head })
    );

    let comment = |action: &str, issue: Value| {
        what(
            "issue_comment",
            &json!({ "action": action, "issue": issue, "comment": { "id": 5, "body": "/branchline plan" } }),
        )
    };
    let on_pull = json!({ "number": 3, "pull_request": { "url": "x" } });
    assert!(matches!(
        comment("created", on_pull.clone()),
        Some(What::Comment { number: PullNumber(3), id: 5, .. })
    ));
    assert_eq!(comment("edited", on_pull), None);
    assert_eq!(comment("created", json!({ "number": 3 })), None);
}

#[test]
fn what_we_do_not_listen_to_is_not_even_read() {
    for event in ["ping", "star", "workflow_run", ""] {
        assert_eq!(read(event, b"this is no JSON").unwrap(), None);
    }
}

#[test]
fn hostile_payloads_are_refused_or_skipped_and_harm_nobody() {
    let deep = format!(r#"{{"x":{}{},"ref":"refs/heads/main"}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let many = (0..1_000_000).map(|n| format!(r#""k{n}":{n},"#)).collect::<Vec<_>>().concat();
    let many = format!(
        r#"{{{many}"ref":"refs/heads/main","after":"{HEAD}","repository":{{"id":7,"full_name":"acme/api"}}}}"#
    );
    assert!(read("push", many.as_bytes()).unwrap().is_some());
    for text in [
        deep.as_str(),
        "",
        "null",
        "[]",
        "{}",
        r#"{"ref":NaN}"#,
        r#"{"ref":"\ud800"}"#,
        r#"{"ref":"a","ref":"b"}"#,
        r#"{"repository":{"id":-1,"full_name":"acme/api"}}"#,
        r#"{"repository":{"id":1,"full_name":"../.."},"ref":"a","after":"b"}"#,
    ] {
        assert!(read("push", text.as_bytes()).is_err(), "{}", &text[..text.len().min(60)]);
    }
    let nulls = r#"{"action":null,"repository":null,"sender":null,"ref":null,"after":null,"number":null,
        "pull_request":null,"check_run":null,"check_suite":null,"merge_group":null,"issue":null,"comment":null}"#;
    for event in
        ["push", "delete", "pull_request", "check_run", "merge_group", "issue_comment", "installation"]
    {
        assert!(read(event, nulls.as_bytes()).is_err(), "{event}");
    }
}

proptest! {
    #[test]
    fn no_bytes_at_all_make_it_panic(body: Vec<u8>, event in "push|pull_request|check_run|issue_comment") {
        let _ = read(&event, &body);
    }
}
