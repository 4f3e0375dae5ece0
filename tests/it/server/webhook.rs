//! Webhooks: what is signed is stored once and acted on at least once; nothing else leaves a trace.

use branchline::github::payload::What;
use branchline::store::{InboxCounts, StoreOptions, Tried};
use serde_json::Value;

use super::{HEAD, PATIENCE, SECRET, Setup, World, problem, push, sign};

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_push_is_on_the_disk_before_the_answer_and_becomes_a_hint() {
    let mut world = World::new().await;
    let sent = world.delivery("d-1", "push", &push(10)).send().await.unwrap();
    assert_eq!(sent.status(), 202);
    assert_eq!(sent.json::<Value>().await.unwrap()["status"], "stored");
    assert_eq!(world.stored().await, ["d-1"]);

    let hints = tokio::time::timeout(PATIENCE, world.reader.next()).await.unwrap().unwrap();
    assert_eq!(hints.len(), 1);
    assert_eq!(hints[0].delivery, "d-1");
    let repository = hints[0].notice.repository.as_ref().unwrap();
    assert_eq!((repository.id, repository.slug.as_str()), (7, "acme/api"));
    let after = Some(HEAD.parse().unwrap());
    assert_eq!(
        hints[0].notice.what,
        What::Push { reference: "refs/heads/main".to_owned(), before: None, after }
    );
    world.reader.finish(&hints).await.unwrap();
    assert_eq!(world.stored().await, Vec::<String>::new());
}

/// W1, W2.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_not_signed_exactly_is_refused_and_leaves_no_trace() {
    let world = World::new().await;
    let body = push(10);
    let right = sign(SECRET, body.as_bytes());
    let unsigned = || world.unsigned("d-1", "push", &body).header("content-type", "application/json");
    let signed = |signature: &str, body: &str| {
        unsigned().body(body.to_owned()).header("x-hub-signature-256", signature)
    };
    let altered = body.replace("main", "maim");
    let encoded_anew = body.replace("\":", "\": ");
    let requests = [
        unsigned(),
        unsigned().header("x-hub-signature", right.replace("sha256", "sha1")),
        signed("", &body),
        signed("sha256=", &body),
        signed(&right.to_uppercase(), &body),
        signed(&right[..70], &body),
        signed(&sign("another secret", body.as_bytes()), &body),
        signed(&right, &body).header("x-hub-signature-256", &right),
        signed(&right, &altered),
        signed(&right, &encoded_anew),
        signed(&right, &format!("\u{feff}{body}")),
    ];
    for request in requests {
        let refused = problem(request.send().await.unwrap()).await;
        assert_eq!(
            (&refused["status"], &refused["code"]),
            (&401.into(), &"badSignature".into()),
            "{refused}"
        );
        assert!(!refused.to_string().contains("refs/heads"), "nothing of the body comes back");
    }
    assert_eq!(world.stored().await, Vec::<String>::new());
}

/// W5, W6.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_delivery_again_is_welcome_and_has_one_effect() {
    let mut world = World::new().await;
    let body = push(10);
    let sends = (0..100).map(|_| world.delivery("d-1", "push", &body).send());
    let answers = futures::future::join_all(sends).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap().status() == 202));
    assert_eq!(world.stored().await, ["d-1"]);

    let hints = world.reader.next().await.unwrap();
    world.reader.finish(&hints).await.unwrap();
    let again = world.delivery("d-1", "push", &body).send().await.unwrap();
    assert_eq!(again.json::<Value>().await.unwrap()["status"], "again");
    // Another body under the same id changes nothing: the first stands.
    assert_eq!(world.delivery("d-1", "push", &push(11)).send().await.unwrap().status(), 202);
    assert_eq!(world.stored().await, Vec::<String>::new());
}

/// W7.
#[tokio::test(flavor = "multi_thread")]
async fn during_a_rotation_both_secrets_are_right_and_afterwards_the_old_one_is_wrong() {
    let body = push(10);
    let old = sign(SECRET, body.as_bytes());
    let new = sign("the next one", body.as_bytes());
    for (secrets, old_status) in [(vec![SECRET, "the next one"], 202), (vec!["the next one"], 401)] {
        let world = World::with(Setup { secrets, ..Setup::default() }).await;
        for (signature, id, status) in [(&old, "d-old", old_status), (&new, "d-new", 202)] {
            let sent = world
                .unsigned(id, "push", &body)
                .header("content-type", "application/json")
                .header("x-hub-signature-256", signature);
            assert_eq!(sent.send().await.unwrap().status(), status, "{id}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_secret_every_webhook_is_refused() {
    let world = World::with(Setup { secrets: vec![], ..Setup::default() }).await;
    assert_eq!(world.delivery("d-1", "push", &push(10)).send().await.unwrap().status(), 401);
    let empty = world
        .unsigned("d-1", "push", &push(10))
        .header("content-type", "application/json")
        .header("x-hub-signature-256", sign("", push(10).as_bytes()));
    assert_eq!(empty.send().await.unwrap().status(), 401);
}

/// W8, W9.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_signed_and_strange_is_ignored_or_refused() {
    let world = World::new().await;
    for event in ["ping", "star", "a_new_event_of_next_year"] {
        let sent = world.delivery("d-1", event, "{\"zen\":\"x\"}").send().await.unwrap();
        assert_eq!(sent.status(), 202, "{event}");
        assert_eq!(sent.json::<Value>().await.unwrap()["status"], "ignored");
    }
    let deep = format!("{{\"x\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    for body in ["", "null", "{}", "{\"ref\":NaN}", &deep] {
        let refused = problem(world.delivery("d-1", "push", body).send().await.unwrap()).await;
        assert_eq!(refused["status"], 400, "{refused}");
    }
    let renamed = r#"{"action":"renamed","repository":{"id":7,"full_name":"acme/shop-api"}}"#;
    assert_eq!(world.delivery("d-2", "repository", renamed).send().await.unwrap().status(), 202);
    let removed = r#"{"action":"deleted","installation":{"id":1}}"#;
    assert_eq!(world.delivery("d-3", "installation", removed).send().await.unwrap().status(), 202);
    assert_eq!(world.stored().await, ["d-2", "d-3"]);

    let form = world
        .unsigned("d-4", "push", "payload=%7B%7D")
        .header("content-type", "application/x-www-form-urlencoded")
        .header("x-hub-signature-256", sign(SECRET, b"payload=%7B%7D"));
    let form = problem(form.send().await.unwrap()).await;
    assert!(form["hint"].as_str().unwrap().contains("application/json"), "{form}");
    let nameless = world.delivery("", "push", &push(1)).send().await.unwrap();
    assert_eq!(problem(nameless).await["code"], "badDelivery");
}

/// W12.
#[tokio::test(flavor = "multi_thread")]
async fn a_locked_store_is_said_within_two_seconds_and_the_redelivery_is_stored() {
    let world = World::new().await;
    let database = world.folder.path().join("branchline.db");
    let mut locker = foreign(&database).await;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut locker).await.unwrap();
    let begun = std::time::Instant::now();
    let refused = world.delivery("d-1", "push", &push(10)).send().await.unwrap();
    assert!(begun.elapsed() < std::time::Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(refused.headers().contains_key("retry-after"));
    let refused = problem(refused).await;
    assert_eq!((&refused["status"], &refused["code"]), (&503.into(), &"notStored".into()));

    sqlx::query("ROLLBACK").execute(&mut locker).await.unwrap();
    let sent = world.delivery("d-1", "push", &push(10)).send().await.unwrap();
    assert_eq!(sent.status(), 202);
    assert_eq!(world.stored().await, ["d-1"]);
}

/// W12, S3.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_store_refuses_deliveries_serves_on_and_recovers() {
    let store = StoreOptions { max_bytes: Some(512 * 1024), ..StoreOptions::default() };
    let mut world = World::with(Setup { store, ..Setup::default() }).await;
    let mut stored = 0;
    let refused = loop {
        let sent = world.delivery(&format!("d-{stored}"), "push", &push(100_000)).send().await.unwrap();
        if sent.status() != 202 {
            break sent;
        }
        stored += 1;
        assert!(stored < 20, "the limit holds");
    };
    assert_eq!(problem(refused).await["status"], 503);
    assert_eq!(world.get("/livez").await.status(), 200);
    let hints = world.reader.next().await.unwrap();
    assert_eq!(hints.len(), stored);
    world.reader.finish(&hints).await.unwrap();
    let sent = world.delivery("d-after", "push", &push(100_000)).send().await.unwrap();
    assert_eq!(sent.status(), 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn hints_that_were_left_are_handed_out_again_and_poison_is_set_aside() {
    let mut world = World::new().await;
    for id in ["poison", "good"] {
        world.delivery(id, "push", &push(10)).send().await.unwrap();
    }
    let first = world.reader.next().await.unwrap();
    assert_eq!(first.len(), 2);
    let again = world.reader.next().await.unwrap();
    assert_eq!(again, first, "nobody said what became of them");
    for _ in 0..4 {
        assert_eq!(world.reader.fail(&first[0], "it cannot be done").await.unwrap(), Tried::Waiting);
    }
    assert_eq!(world.reader.fail(&first[0], "it cannot be done").await.unwrap(), Tried::Quarantined);
    world.reader.finish(&first[1..]).await.unwrap();
    assert_eq!(world.store.count_inbox().await.unwrap(), InboxCounts { waiting: 0, quarantined: 1 });
}

/// W15.
#[tokio::test(flavor = "multi_thread")]
async fn a_burst_is_stored_whole_and_handed_out_in_order() {
    let mut world = World::new().await;
    let body = push(10_000);
    for round in 0..10 {
        let sends = (0..100).map(|n| world.delivery(&format!("{round}-{n}"), "push", &body).send());
        let answers = futures::future::join_all(sends).await;
        assert!(answers.into_iter().all(|answer| answer.unwrap().status() == 202));
    }
    let mut rows = Vec::new();
    while rows.len() < 1000 {
        let hints = tokio::time::timeout(PATIENCE, world.reader.next()).await.unwrap().unwrap();
        rows.extend(hints.iter().map(|hint| hint.row));
        world.reader.finish(&hints).await.unwrap();
    }
    assert!(rows.is_sorted() && rows.len() == 1000);
    assert_eq!(world.store.count_inbox().await.unwrap(), InboxCounts::default());
}

/// A connection of another program.
async fn foreign(database: &std::path::Path) -> sqlx::SqliteConnection {
    use sqlx::ConnectOptions;
    sqlx::sqlite::SqliteConnectOptions::new().filename(database).connect().await.unwrap()
}
