//! What a watch tells of changes that we did not make.

use std::sync::atomic::Ordering;
use std::time::Duration;

use branchline::cluster::apply;
use branchline::cluster::health::{self, Health};
use branchline::cluster::watch::{Event, Watches};
use branchline::plan::Wanted;
use branchline::secret::Redactor;
use serde_json::json;
use tokio::sync::mpsc::Receiver;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ground::{Ground, grounds};
use super::line::{Fate, over};

struct Watching {
    watches: Watches,
    events: Receiver<Event>,
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Watching {
    async fn begin(ground: &Ground) -> Self {
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let (watches, events) = Watches::new(&ground.cluster, &tracker, &stop);
        let mut watching = Self { watches, events, tracker, stop };
        for (group, kind) in [("", "ConfigMap"), ("apps", "Deployment")] {
            watching.watches.ensure(group, kind).await.unwrap();
            watching
                .until(|event| matches!(event, Event::Listed { kind: listed, .. } if listed == kind))
                .await;
        }
        watching
    }

    async fn until(&mut self, wanted: impl Fn(&Event) -> bool) -> Event {
        let next = async {
            loop {
                let event = self.events.recv().await.expect("the watches run");
                if wanted(&event) {
                    return event;
                }
            }
        };
        tokio::time::timeout(Duration::from_mins(2), next).await.expect("the event comes")
    }

    async fn end(self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

#[tokio::test]
async fn a_change_of_an_owned_field_is_drift_and_a_foreign_field_is_none() {
    for ground in grounds().await {
        let set = ground.set().await;
        let mut watching = Watching::begin(&ground).await;
        let plan = ground.plan(&set, "api", Wanted::Objects(vec![ground.config("api", "api", "1")]), &[]);
        let unit = plan.unit("api").unwrap();
        watching.watches.applied(&set, unit, &apply::apply(&set, unit, false).await.unwrap());
        let path = ground.path("configmaps", "api");
        ground.patch(&path, &json!({"data": {"theirs": "x"}}), "kubectl").await;
        ground.patch(&path, &json!({"data": {"key": "changed"}}), "kubectl-edit").await;
        let key = ground.key("v1", "ConfigMap", "api");
        let drift =
            watching.until(|event| matches!(event, Event::Drifted { key: of, .. } if *of == key)).await;
        let actor = Some("kubectl-edit".to_owned());
        assert_eq!(drift, Event::Drifted { key: key.clone(), service: "api".into(), actor: actor.clone() });
        assert_eq!(watching.watches.drifted(ground.namespace.as_str()), [(key, actor)].into());
        watching.end().await;
        ground.finish().await;
    }
}

#[tokio::test]
async fn a_deleted_object_is_told() {
    for ground in grounds().await {
        let set = ground.set().await;
        let mut watching = Watching::begin(&ground).await;
        let plan = ground.plan(&set, "api", Wanted::Objects(vec![ground.config("api", "api", "1")]), &[]);
        let unit = plan.unit("api").unwrap();
        watching.watches.applied(&set, unit, &apply::apply(&set, unit, false).await.unwrap());
        ground.send("DELETE", &ground.path("configmaps", "api"), None, "").await.unwrap();
        let key = ground.key("v1", "ConfigMap", "api");
        watching.until(|event| matches!(event, Event::Deleted { key: of, .. } if *of == key)).await;
        assert!(watching.watches.drifted(ground.namespace.as_str()).contains_key(&key));
        watching.end().await;
        ground.finish().await;
    }
}

#[tokio::test]
async fn a_deletion_that_overtakes_the_answer_of_the_apply_is_not_lost() {
    for ground in grounds().await {
        let set = ground.set().await;
        let mut watching = Watching::begin(&ground).await;
        let plan = ground.plan(&set, "api", Wanted::Objects(vec![ground.config("api", "api", "1")]), &[]);
        let unit = plan.unit("api").unwrap();
        let answers = apply::apply(&set, unit, false).await.unwrap();
        ground.send("DELETE", &ground.path("configmaps", "api"), None, "").await.unwrap();
        let key = ground.key("v1", "ConfigMap", "api");
        watching.until(|event| matches!(event, Event::Deleted { key: of, .. } if *of == key)).await;
        watching.watches.applied(&set, unit, &answers);
        assert!(watching.watches.drifted(ground.namespace.as_str()).contains_key(&key));
        watching.watches.applied(&set, unit, &apply::apply(&set, unit, false).await.unwrap());
        assert!(watching.watches.drifted(ground.namespace.as_str()).is_empty());
        watching.end().await;
        ground.finish().await;
    }
}

#[tokio::test]
async fn what_was_deleted_while_nobody_watched_is_missed_by_the_first_list() {
    for ground in grounds().await {
        let set = ground.set().await;
        ground.apply(&set, "api", vec![ground.config("api", "api", "1")]).await;
        ground.send("DELETE", &ground.path("configmaps", "api"), None, "").await.unwrap();
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let (watches, events) = Watches::new(&ground.cluster, &tracker, &stop);
        let mut watching = Watching { watches, events, tracker, stop };
        watching.watches.follow(&ground.set().await).await.unwrap();
        let key = ground.key("v1", "ConfigMap", "api");
        watching.until(|event| matches!(event, Event::Deleted { key: of, .. } if *of == key)).await;
        watching.end().await;
        ground.finish().await;
    }
}

#[tokio::test]
async fn a_first_list_says_what_is_there_under_which_uid() {
    for ground in grounds().await {
        let set = ground.set().await;
        ground.apply(&set, "api", vec![ground.config("api", "api", "1")]).await;
        let uid = set.held("api")[0].uid.clone();
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let (watches, _events) = Watches::new(&ground.cluster, &tracker, &stop);
        watches.ensure("", "ConfigMap").await.unwrap();
        tokio::time::timeout(Duration::from_mins(2), watches.listed("", "ConfigMap")).await.expect("listed");
        let key = |name| ground.key("v1", "ConfigMap", name);
        assert!(watches.has_seen(&key("api"), &uid));
        assert!(!watches.has_seen(&key("api"), "another"), "another object of that name");
        assert!(!watches.has_seen(&key("web"), &uid));
        stop.cancel();
        tracker.close();
        tracker.wait().await;
        ground.finish().await;
    }
}

#[tokio::test]
async fn what_a_watch_saw_to_be_current_costs_no_request_until_something_is_applied() {
    for (index, ground) in grounds().await.into_iter().enumerate() {
        let (set, key) = (ground.set().await, ground.key("apps/v1", "Deployment", "api"));
        let mut watching = Watching::begin(&ground).await;
        let deployment = |image| Wanted::Objects(vec![ground.deployment("api", image, 0)]);
        let plan = ground.plan(&set, "api", deployment("app:1"), &[]);
        let unit = plan.unit("api").unwrap();
        watching.watches.applied(&set, unit, &apply::apply(&set, unit, false).await.unwrap());
        let moves = watching.watches.moves(ground.namespace.as_str(), "api");
        // the controllers of the real server say the same
        let status = json!({"status": {"observedGeneration": 1}});
        let path = format!("{}/status", ground.path("deployments", "api"));
        ground.patch(&path, &status, "kube-controller-manager").await;
        let (cluster, left) = over(&ground, 1000, Fate::Counted, |_| true);
        watching.until(|event| matches!(event, Event::Health { health: Health::Current, .. })).await;
        let (keys, redactor, limit) = ([key.clone()], Redactor::new(), Duration::from_secs(30));
        let before = left.load(Ordering::Relaxed);
        let checkup = health::wait(&cluster, &keys, &redactor, &moves, limit).await.unwrap();
        assert_eq!(checkup.health, Health::Current);
        assert_eq!(before - left.load(Ordering::Relaxed), 0, "the watch has told it");
        // without controllers nobody follows what is applied now
        if index == 0 {
            let plan = ground.plan(&set, "api", deployment("app:2"), &[]);
            let unit = plan.unit("api").unwrap();
            watching.watches.applied(&set, unit, &apply::apply(&set, unit, false).await.unwrap());
            assert!(!watching.watches.is_current(&key), "what was seen is older");
        }
        watching.end().await;
        ground.finish().await;
    }
}
