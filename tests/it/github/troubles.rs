//! Refusals, limits and cuts cost time; they never cost a word, and never say one twice (H1 to H8).

use std::time::Duration;

use branchline::report::State;

use super::{HEAD, NEXT, Office, SHOP};
use crate::world::{Fault, TOKEN};

const RUNS: &str = "POST /repos/acme/shop/check-runs";

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_went_through_unheard_is_not_done_twice() {
    let mut office = Office::open().await;
    office.world.fail(RUNS, Fault::CutAfterSuccess, 1);
    office.report(&[("api", State::Live)]).await;
    let pull = office.world.open_pull(SHOP, "tax", NEXT);
    office.world.fail("/comments", Fault::CutAfterSuccess, 2);
    office.want_comment(pull, "the preview", true).await;
    office.send().await;
    assert!(office.errors().await.contains("GitHub did not answer when we were to"));
    office.restart().await;
    office.settle().await;
    insta::assert_snapshot!(office.shown(), @r"
    branchline: success, shop/staging/api: Live on 3f2c1aa
    branchline / shop/staging / api: success, Live on 3f2c1aa
    ");
    assert_eq!(office.world.comments(SHOP, pull).len(), 1);
    assert_eq!(office.errors().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_limit_is_waited_for() {
    let at_least = [
        (Fault::SecondaryLimit(Some(90)), 90),
        (Fault::SecondaryLimit(None), 60),
        (Fault::TooMany(30), 30),
        (Fault::Exhausted(600), 600),
        (Fault::BadGateway, 2),
    ];
    for (fault, seconds) in at_least {
        let office = Office::open().await;
        office.world.fail(RUNS, fault.clone(), 1);
        office.report(&[("api", State::Live)]).await;
        let took = office.settle().await;
        assert!(took >= Duration::from_secs(seconds), "{fault:?}: {took:?}");
        assert!(took <= Duration::from_secs(seconds + 15), "{fault:?}: {took:?}");
        assert_eq!(office.world.checks(SHOP, HEAD).len(), 2, "{fault:?}");
        assert_eq!(office.errors().await, "", "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_limit_holds_every_row_of_the_installation_and_is_not_asked_again() {
    let office = Office::open().await;
    office.world.fail(RUNS, Fault::SecondaryLimit(Some(45)), 1);
    office.report(&[("api", State::Live), ("web", State::Live), ("worker", State::Live)]).await;
    let sent = office.send().await;
    assert_eq!((sent.done, sent.postponed), (0, 4));
    assert_eq!(office.world.asked(RUNS), 1);
    insta::assert_snapshot!(office.errors().await, @r"
    GitHub's rate limit is reached; nothing is sent there before 2025-11-22T08:27:25Z
    GitHub's rate limit is reached; nothing is sent there before 2025-11-22T08:27:25Z
    GitHub's rate limit is reached; nothing is sent there before 2025-11-22T08:27:25Z
    GitHub's rate limit is reached; nothing is sent there before 2025-11-22T08:27:25Z
    ");
    office.settle().await;
    assert_eq!(office.errors().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_cannot_be_read_makes_no_second_run() {
    let office = Office::open().await;
    office.world.fail(RUNS, Fault::Garbage, 1);
    office.report(&[("api", State::Live)]).await;
    office.settle().await;
    assert_eq!(office.world.checks(SHOP, HEAD).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permission_that_comes_back_within_three_days_is_enough() {
    let office = Office::open().await;
    office.world.install(SHOP, false);
    office.report(&[("api", State::Live)]).await;
    office.send().await;
    insta::assert_snapshot!(office.errors().await, @r"
    the App is not installed on acme/shop, or suspended; hint: see to it on the App's page
    the App is not installed on acme/shop, or suspended; hint: see to it on the App's page
    ");
    office.clock.advance(Duration::from_hours(30));
    office.send().await;
    office.world.install(SHOP, true);
    office.settle().await;
    assert_eq!(office.world.checks(SHOP, HEAD).len(), 2);
    assert_eq!(office.errors().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permission_that_stays_away_is_given_up_and_the_row_says_so() {
    let office = Office::open().await;
    office.world.install(SHOP, false);
    office.report(&[("api", State::Live)]).await;
    let took = office.settle().await;
    assert!(took >= Duration::from_hours(72), "{took:?}");
    assert!(office.errors().await.starts_with("the App is not installed on acme/shop"));
    // the next news tries again
    office.world.install(SHOP, true);
    office.report(&[("api", State::Failed)]).await;
    office.settle().await;
    assert_eq!(office.world.checks(SHOP, HEAD).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_commit_and_a_locked_conversation_are_given_up_with_the_reason() {
    let office = Office::open().await;
    let check = branchline::report::Reporter::default().service(&crate::report::service("api", State::Live));
    let sha = "1".repeat(40).parse().unwrap();
    let now = office.clock.now();
    office.want(branchline::github::want_check(&super::shop(), &sha, &check.unwrap(), true, now)).await;
    let pull = office.world.open_pull(SHOP, "tax", NEXT);
    office.world.lock(SHOP, pull);
    office.want_comment(pull, "the preview", true).await;
    office.settle().await;
    insta::assert_snapshot!(office.errors().await, @r"
    GitHub refused to list the check runs of 1111111 in acme/shop (422): No commit found for SHA: 1111111111111111111111111111111111111111
    GitHub refused to comment on acme/shop#1 (403): Unable to create comment because issue is locked.
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_repository_still_gets_its_words() {
    let office = Office::open().await;
    office.report(&[("api", State::Building)]).await;
    office.settle().await;
    office.world.rename(SHOP, "acme/store");
    office.report(&[("api", State::Live)]).await;
    office.settle().await;
    let shown = office.world.checks("acme/store", HEAD);
    assert_eq!(shown.len(), 2);
    assert!(shown.iter().all(|check| check.standing == "success"), "{shown:?}");
    assert_eq!(office.errors().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_page_is_fetched_from_where_a_link_points() {
    let office = Office::open().await;
    office.world.link_to("http://127.0.0.1:1");
    let pull = office.world.open_pull(SHOP, "tax", NEXT);
    for n in 0..250 {
        office.world.comment_as(SHOP, pull, "alice", &format!("remark {n}"));
    }
    office.want_comment(pull, "the preview", true).await;
    office.settle().await;
    assert_eq!(office.world.asked("GET /repos/acme/shop/issues/1/comments"), 3);
    assert_eq!(office.world.comments(SHOP, pull).len(), 251);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_error_holds_a_credential() {
    for fault in [Fault::Unauthorized, Fault::Forbidden, Fault::BadGateway, Fault::CutAfterSuccess] {
        let office = Office::with_token().await;
        office.world.fail("/statuses/", fault, 9);
        office.report(&[("api", State::Live)]).await;
        office.send().await;
        let errors = office.errors().await;
        assert!(!errors.is_empty());
        assert!(!errors.contains(TOKEN), "{errors}");
    }
}
