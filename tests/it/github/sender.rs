//! Rows become check runs, statuses and one comment.

use std::time::Duration;

use branchline::github::{run, want_check};
use branchline::report::{Cause, State};
use branchline::yaml::Place;
use tokio_util::sync::CancellationToken;

use super::{HEAD, NEXT, Office, SHOP};
use crate::report::{commit, service};
use crate::world::{APP_SLUG, TOKEN_USER};

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_shows_each_service_and_their_sum() {
    let office = Office::open().await;
    office.report(&[("api", State::Building), ("web", State::Queued)]).await;
    office.settle().await;
    insta::assert_snapshot!(office.shown(), @r"
    branchline: in_progress, 0 of 2 services live
    branchline / shop/staging / api: in_progress, Building 3f2c1aa
    branchline / shop/staging / web: queued, Queued 3f2c1aa
    ");
    office.report(&[("api", State::Live), ("web", State::Live)]).await;
    office.settle().await;
    insta::assert_snapshot!(office.shown(), @r"
    branchline: success, 2 services live
    branchline / shop/staging / api: success, Live on 3f2c1aa
    branchline / shop/staging / web: success, Live on 3f2c1aa
    ");
    let summary = office.world.checks(SHOP, HEAD).remove(1).summary;
    assert!(summary.contains("http://api-shop-staging.localhost:8080"), "{summary}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rewritings_within_five_seconds_become_one() {
    let office = Office::open().await;
    office.report(&[("api", State::Queued)]).await;
    office.send().await;
    for state in [State::Building, State::Planning, State::RollingOut, State::Live] {
        office.report(&[("api", state)]).await;
        office.send().await;
    }
    assert_eq!(office.world.asked("PATCH"), 0, "the first five seconds are not over");
    assert!(office.settle().await >= Duration::from_secs(5));
    assert_eq!(office.world.asked("PATCH"), 2, "one for each of the two runs");
    assert!(office.shown().contains("api: success, Live"));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_annotations_arrive_fifty_at_a_time_and_none_twice() {
    let mut office = Office::open().await;
    let problem = |line| {
        branchline::config::Problem::new(
            Place { file: "projects/shop/api.yaml".into(), line, column: 1 },
            "unknown field",
        )
    };
    let outcome = branchline::report::ConfigOutcome {
        problems: (1..=120).map(problem).collect(),
        root: String::new(),
        synced: None,
        page: None,
        checked: office.clock.now(),
    };
    let check = branchline::report::Reporter::default().config(&outcome);
    // the connection is cut in the middle of the second fifty
    office.world.fail("PATCH", crate::world::Fault::CutAfterSuccess, 1);
    office.want_check(&check).await;
    office.send().await;
    office.restart().await;
    office.settle().await;
    // and the same is said again, with a later time
    let mut again = check.clone();
    again.title = "120 problems, still".to_owned();
    office.want_check(&again).await;
    office.settle().await;
    let shown = office.world.checks(SHOP, HEAD);
    assert_eq!(shown.len(), 1);
    let lines: std::collections::BTreeSet<&String> = shown[0].annotations.iter().collect();
    assert_eq!((shown[0].annotations.len(), lines.len()), (120, 120));
    assert_eq!(shown[0].title, "120 problems, still");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_token_commit_statuses_say_it() {
    let office = Office::with_token().await;
    let mut api = service("api", State::Failed);
    api.cause = Some(Cause::new("the build command ended with exit status 1"));
    for check in branchline::report::Reporter::default().commit(&commit(vec![api])) {
        office.want_check(&check).await;
    }
    office.settle().await;
    assert!(!office.client.is_app());
    insta::assert_snapshot!(office.world.statuses(SHOP, HEAD).join("\n"), @r"
    branchline: failure shop/staging/api: Failed: the build command ended with exit status 1
    branchline / shop/staging / api: failure Failed: the build command ended with exit status 1
    ");
    office.world.open_pull(SHOP, "tax", NEXT);
    office.want_comment(1, "the preview", true).await;
    office.settle().await;
    assert_eq!(office.world.comments(SHOP, 1)[0].0, TOKEN_USER);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_request_has_one_comment_for_its_life() {
    let mut office = Office::open().await;
    let pull = office.world.open_pull(SHOP, "tax", NEXT);
    for n in 0..120 {
        office.world.comment_as(SHOP, pull, "alice", &format!("remark {n}"));
    }
    office.want_comment(pull, "building", true).await;
    office.settle().await;
    office.want_comment(pull, "live", true).await;
    office.settle().await;
    // the store is lost, but not the comment
    office.store.give_up("comment/acme/shop/1", 9, "lost").await.unwrap();
    office.folder = tempfile::tempdir().unwrap();
    office.restart().await;
    office.want_comment(pull, "live again", true).await;
    office.settle().await;
    let ours: Vec<_> =
        office.world.comments(SHOP, pull).into_iter().filter(|(author, _)| author != "alice").collect();
    assert_eq!(ours.len(), 1, "{ours:?}");
    assert_eq!(ours[0].0, format!("{APP_SLUG}[bot]"));
    assert!(ours[0].1.ends_with("live again"));
    office.want_comment(pull, "removed", false).await;
    office.settle().await;
    assert!(office.world.comments(SHOP, pull).last().unwrap().1.ends_with("removed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_marker_does_not_get_our_words() {
    let office = Office::open().await;
    let pull = office.world.open_pull(SHOP, "tax", NEXT);
    let forged = format!("{}\nclick https://e.vil", branchline::report::MARKER);
    office.world.comment_as(SHOP, pull, "mallory", &forged);
    office.want_comment(pull, "the preview", true).await;
    office.settle().await;
    let comments = office.world.comments(SHOP, pull);
    assert_eq!(comments.len(), 2);
    assert_eq!(comments[0], ("mallory".to_owned(), forged));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_comment_comes_back_with_the_next_news_and_a_closed_pull_request_gets_none() {
    let office = Office::open().await;
    let pull = office.world.open_pull(SHOP, "tax", NEXT);
    office.want_comment(pull, "building", true).await;
    office.settle().await;
    office.world.delete_comments(SHOP, pull);
    office.want_comment(pull, "live", true).await;
    office.settle().await;
    assert_eq!(office.world.comments(SHOP, pull).len(), 1);
    office.world.delete_comments(SHOP, pull);
    office.want_comment(pull, "removed", false).await;
    office.settle().await;
    assert_eq!(office.world.comments(SHOP, pull).len(), 0);
    assert_eq!(office.errors().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_loop_sends_what_is_wanted_while_it_waits() {
    let office = Office::open().await;
    let stop = CancellationToken::new();
    let sender = tokio::spawn(run(
        office.store.clone(),
        office.client.clone(),
        branchline::clock::Clock::system(),
        stop.clone(),
    ));
    office.report(&[("api", State::Live)]).await;
    let shown = async {
        while office.world.checks(SHOP, HEAD).len() < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(2), shown).await.unwrap();
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(5), sender).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn more_rows_than_an_hour_takes_keep_within_the_hourly_budget() {
    let office = Office::open().await;
    let check = branchline::report::Reporter::default().commit(&commit(Vec::new())).remove(0);
    for n in 0..510_u32 {
        let sha = format!("{n:040x}");
        office.world.commit(SHOP, &sha);
        let want = want_check(&super::shop(), &sha.parse().unwrap(), &check, true, office.clock.now());
        office.want(want).await;
    }
    let took = office.settle().await;
    assert_eq!(office.world.asked("POST /repos/acme/shop/check-runs"), 510);
    assert_eq!(office.world.asked("access_tokens"), 1, "one token serves the whole installation");
    assert!(took >= Duration::from_hours(1), "{took:?}");
    assert!(took <= Duration::from_mins(75), "{took:?}");
}
