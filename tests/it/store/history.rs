//! Deployments, their steps, services, events and verdicts.

use std::time::Duration;

use branchline::clock::Clock;
use branchline::store::{
    Change, DeploymentChange, DeploymentFilter, EventFilter, NewEvent, Retention, ServiceRow, Step, Verdict,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{Place, at, delivery, deployment, line, want};
use crate::program::until;

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_moves_only_from_the_states_it_may_leave() {
    let place = Place::new();
    let store = place.open().await;
    let first = store.create_deployment(deployment("01", "api")).await.unwrap();
    let second = store.create_deployment(deployment("02", "api")).await.unwrap();
    assert_eq!((first.attempt, second.attempt), (1, 2), "the same input again is another attempt");

    let to_live = DeploymentChange {
        only_from: vec!["queued".to_owned(), "rollingOut".to_owned()],
        state: Some("live".to_owned()),
        artifact: Some(json!({ "folder": { "key": "k" } })),
        ended: Some(at(5)),
        ..DeploymentChange::default()
    };
    let moved = store.update_deployment("01", to_live.clone()).await.unwrap().unwrap();
    assert_eq!((moved.state.as_str(), moved.ended), ("live", Some(at(5))));
    assert_eq!(moved.artifact, Some(json!({ "folder": { "key": "k" } })));
    assert_eq!(moved.cause, "a push to main", "what is not named stays");
    assert_eq!(store.update_deployment("01", to_live.clone()).await.unwrap(), None);
    assert_eq!(store.update_deployment("unknown", to_live).await.unwrap(), None);

    let unfinished = DeploymentFilter { unfinished: true, limit: 10, ..DeploymentFilter::default() };
    let ids: Vec<_> = store.deployments(&unfinished).await.unwrap().into_iter().map(|d| d.id).collect();
    assert_eq!(ids, ["02"]);
    assert_eq!(
        store.count_deployments("shop").await.unwrap(),
        [("live".to_owned(), 1), ("queued".to_owned(), 1)]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn deployments_are_listed_newest_first_by_page_service_state_and_revision() {
    let place = Place::new();
    let store = place.open().await;
    for n in 0..5 {
        store.create_deployment(deployment(&format!("0{n}"), "api")).await.unwrap();
    }
    let mut other = deployment("09", "web");
    other.app_revision = Some("beef000000000000000000000000000000000000".to_owned());
    store.create_deployment(other).await.unwrap();

    let of = |filter: DeploymentFilter| {
        let store = store.clone();
        async move {
            let found = store.deployments(&DeploymentFilter { limit: 2, ..filter }).await.unwrap();
            found.into_iter().map(|d| d.id).collect::<Vec<_>>()
        }
    };
    let api = DeploymentFilter { service: Some("api".to_owned()), ..DeploymentFilter::default() };
    assert_eq!(of(api.clone()).await, ["04", "03"]);
    assert_eq!(of(DeploymentFilter { before: Some("03".to_owned()), ..api }).await, ["02", "01"]);
    let revision = DeploymentFilter { revision: Some("beef".to_owned()), ..DeploymentFilter::default() };
    assert_eq!(of(revision).await, ["09"]);
    let states = DeploymentFilter { states: vec!["live".to_owned()], ..DeploymentFilter::default() };
    assert_eq!(of(states).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn work_begins_once() {
    let place = Place::new();
    let store = place.open().await;
    store.create_deployment(deployment("01", "api")).await.unwrap();
    for second in [1, 2] {
        let change = DeploymentChange { started: Some(at(second)), ..DeploymentChange::default() };
        store.update_deployment("01", change).await.unwrap();
    }
    assert_eq!(store.deployment("01").await.unwrap().unwrap().started, Some(at(1)), "each step says it anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_listens_hears_of_each_change_after_it_is_there() {
    let place = Place::new();
    let store = place.open().await;
    let mut changes = store.changes();
    store.create_deployment(deployment("01", "api")).await.unwrap();
    let step = |state: &str, ended| Step {
        deployment: "01".to_owned(),
        name: "build".to_owned(),
        state: state.to_owned(),
        started: Some(at(1)),
        ended,
        detail: None,
    };
    store.put_step(step("running", None)).await.unwrap();
    store.put_step(Step { name: "plan".to_owned(), ..step("waiting", None) }).await.unwrap();
    store.put_step(step("done", Some(at(3)))).await.unwrap();
    let row = ServiceRow {
        project: "shop".to_owned(),
        environment: "staging".to_owned(),
        service: "api".to_owned(),
        state: "live".to_owned(),
        message: "Live on 3f2c1aa".to_owned(),
        live_deployment: Some("01".to_owned()),
        detail: Some(json!({ "url": "http://api-shop-staging.localhost:8080" })),
        updated: at(3),
    };
    store.put_service(row.clone()).await.unwrap();

    assert!(matches!(changes.recv().await.unwrap(), Change::Deployment { id, .. } if id == "01"));
    for _ in 0..3 {
        assert!(matches!(changes.recv().await.unwrap(), Change::Deployment { .. }));
    }
    assert!(matches!(changes.recv().await.unwrap(), Change::Service { service, .. } if service == "api"));
    let steps = store.steps("01").await.unwrap();
    let steps: Vec<_> = steps.iter().map(|step| (step.name.as_str(), step.state.as_str())).collect();
    assert_eq!(steps, [("build", "done"), ("plan", "waiting")], "in the order of their first writing");
    assert_eq!(store.services(Some("shop"), None).await.unwrap(), [row]);
    store.remove_service("shop", "staging", "api").await.unwrap();
    assert_eq!(store.services(None, None).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn why_finds_the_verdicts_on_a_revision_by_its_first_digits() {
    let place = Place::new();
    let store = place.open().await;
    let verdict = |revision: &str, service: &str, verdict: &str| Verdict {
        repo: "acme/api".to_owned(),
        revision: revision.to_owned(),
        project: "shop".to_owned(),
        environment: "staging".to_owned(),
        service: service.to_owned(),
        verdict: verdict.to_owned(),
        detail: None,
        time: at(0),
    };
    let said = vec![
        verdict("3f2c1aa", "api", "queued"),
        verdict("3f2c1aa", "web", "no input changed"),
        verdict("3f2c200", "api", "deployed"),
    ];
    store.put_verdicts(said).await.unwrap();
    store.put_verdicts(vec![verdict("3f2c1aa", "api", "deployed")]).await.unwrap();
    let found = store.verdicts("3f2c1", 10).await.unwrap();
    let found: Vec<_> = found.iter().map(|v| (v.service.as_str(), v.verdict.as_str())).collect();
    assert_eq!(found, [("api", "deployed"), ("web", "no input changed")]);
    assert_eq!(store.verdicts("3f2c", 10).await.unwrap().len(), 3);
    assert_eq!(store.verdicts_of_service("shop", "staging", "api", 10).await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_old_is_forgotten_and_what_is_to_be_done_is_not() {
    let place = Place::new();
    let store = place.open().await;
    for (id, ended) in [("01", Some(at(10))), ("02", Some(at(20))), ("03", None)] {
        store.create_deployment(deployment(id, "api")).await.unwrap();
        store.append_log(id, "build", vec![line("x")]).await.unwrap();
        let change = DeploymentChange { ended, ..DeploymentChange::default() };
        store.update_deployment(id, change).await.unwrap();
    }
    let event = NewEvent {
        project: "shop".to_owned(),
        environment: None,
        service: None,
        time: at(10),
        kind: "drift".to_owned(),
        actor: Some("kubectl-edit".to_owned()),
        message: "Deployment/api was scaled from 3 to 5".to_owned(),
    };
    store.add_event(event.clone()).await.unwrap();
    store.add_event(NewEvent { time: at(50), ..event }).await.unwrap();
    store.receive(delivery("waits", "{}")).await.unwrap();
    store.want(want("unsent", "x", 0)).await.unwrap();

    let old = at(15);
    let forgotten = store
        .forget(Retention {
            logs_before: at(100),
            deployments_before: old,
            events_before: old,
            inbox_before: at(100),
            outbox_before: at(100),
        })
        .await
        .unwrap();
    assert_eq!((forgotten.log_lines, forgotten.deployments, forgotten.events), (2, 1, 1));
    assert_eq!((forgotten.deliveries, forgotten.outbox), (0, 0));
    assert_eq!(store.log("03", None, 0, 10).await.unwrap().len(), 1);
    assert_eq!(store.append_log("02", "build", vec![line("y")]).await.unwrap(), 2, "offsets go on");
    let left = store.events(&EventFilter { limit: 10, ..EventFilter::default() }).await.unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].what.actor.as_deref(), Some("kubectl-edit"));
}

#[tokio::test]
async fn a_server_forgets_by_itself_what_nobody_asks_for_any_more() {
    let place = Place::new();
    let store = place.open().await;
    for (id, ended) in [("01", Some(at(10))), ("02", None)] {
        store.create_deployment(deployment(id, "api")).await.unwrap();
        store.append_log(id, "build", vec![line("x")]).await.unwrap();
        let change = DeploymentChange { ended, ..DeploymentChange::default() };
        store.update_deployment(id, change).await.unwrap();
    }
    let (clock, stop) = (Clock::test(at(10)), CancellationToken::new());
    let (kept, time, ends) = (store.clone(), clock.clone(), stop.clone());
    let task = tokio::spawn(async move { kept.keep_flat(&time, &ends).await });
    for (days, lines, there) in [(29, 1, true), (2, 0, true), (60, 0, false)] {
        clock.advance(Duration::from_hours(24 * days));
        until("it is as the days say", async || {
            clock.advance(Duration::from_mins(30));
            let logs = store.log("01", None, 0, 10).await.unwrap().len();
            (logs, store.deployment("01").await.unwrap().is_some()) == (lines, there)
        })
        .await;
    }
    assert_eq!(store.log("02", None, 0, 10).await.unwrap().len(), 1, "it is still to be done");
    stop.cancel();
    task.await.unwrap();
}
