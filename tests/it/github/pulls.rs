//! What we read: open pull requests, the proof that one is closed, who may do what.

use branchline::github::{Permission, PullStanding};
use branchline::name::PullNumber;
use serde_json::json;

use super::{HEAD, NEXT, Office, SHOP, shop};
use crate::world::Fault;

#[tokio::test(flavor = "multi_thread")]
async fn open_pull_requests_come_with_what_previews_need_to_know() {
    let office = Office::open().await;
    let ours = office.world.open_pull(SHOP, "feature/tax", HEAD);
    let fork = office.world.open_pull_from(SHOP, Some("mallory/shop"), "main", NEXT);
    let gone = office.world.open_pull_from(SHOP, None, "x", NEXT);
    let closed = office.world.open_pull(SHOP, "old", NEXT);
    office.world.close_pull(SHOP, closed, true);
    office.world.change_pull(SHOP, ours, |pull| {
        pull["draft"] = json!(true);
        pull["labels"] = json!([{ "name": "preview", "color": "ff0000" }]);
        pull["user"] = json!({ "login": "renovate[bot]", "id": 5, "type": "Bot" });
        pull["a_field_of_next_year"] = json!({ "x": [1] });
    });
    let pulls = office.client.open_pulls(&shop()).await.unwrap();
    let numbers: Vec<u64> = pulls.iter().map(|pull| pull.number.0).collect();
    assert_eq!(numbers, [ours, fork, gone]);
    let first = &pulls[0];
    assert_eq!((first.head.name.as_str(), first.head.revision.as_str()), ("feature/tax", HEAD));
    assert!(first.draft && first.by_bot && !first.is_from_fork());
    assert_eq!(
        (first.labels.as_slice(), first.author.as_str()),
        (&["preview".to_owned()][..], "renovate[bot]")
    );
    assert!(pulls[1].is_from_fork() && pulls[2].is_from_fork());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_of_many_pages_is_complete_or_an_error() {
    let office = Office::open().await;
    for n in 0..130 {
        office.world.open_pull(SHOP, &format!("branch-{n}"), HEAD);
    }
    assert_eq!(office.client.open_pulls(&shop()).await.unwrap().len(), 130);
    office.world.fail("GET /repos/acme/shop/pulls", Fault::BadGateway, 1);
    assert!(office.client.open_pulls(&shop()).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_proven_closed_is_closed() {
    let office = Office::open().await;
    let number = PullNumber(office.world.open_pull(SHOP, "tax", NEXT));
    let shop = shop();
    let ask = || office.client.pull(&shop, number);
    assert!(matches!(ask().await.unwrap(), PullStanding::Open(pull) if pull.head.name == "tax"));
    office.world.push_to_pull(SHOP, number.0, HEAD);
    assert!(matches!(ask().await.unwrap(), PullStanding::Open(pull) if pull.head.revision.as_str() == HEAD));
    office.world.close_pull(SHOP, number.0, true);
    assert_eq!(ask().await.unwrap(), PullStanding::Closed { merged: true });
    office.world.forget_pull(SHOP, number.0);
    assert_eq!(ask().await.unwrap(), PullStanding::Missing);
    // a lost permission is no closed pull request
    office.world.install(SHOP, false);
    insta::assert_snapshot!(ask().await.unwrap_err(), @"the App is not installed on acme/shop, or suspended; hint: see to it on the App's page");
}

#[tokio::test(flavor = "multi_thread")]
async fn permissions_are_asked_live_and_strangers_have_none() {
    let office = Office::open().await;
    for (user, permission) in [("ann", "admin"), ("wim", "write"), ("rob", "read"), ("nil", "none")] {
        office.world.permit(SHOP, user, permission);
    }
    let mut found = Vec::new();
    for user in ["ann", "wim", "rob", "nil", "mallory", "a/../b"] {
        found.push(office.client.permission(&shop(), user).await.unwrap());
    }
    let none = Permission::None;
    assert_eq!(found, [Permission::Admin, Permission::Write, Permission::Read, none, none, none]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_repository_is_the_same_one() {
    let office = Office::open().await;
    let before = office.client.repository(&shop()).await.unwrap();
    office.world.rename(SHOP, "acme/store");
    let after = office.client.repository(&shop()).await.unwrap();
    assert_eq!(before.id, after.id);
    assert_eq!(after.full_name.as_str(), "acme/store");
    assert_eq!(after.clone_url, "https://example.com/acme/shop.git");
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_that_we_never_accepted_are_found_after_downtime() {
    let office = Office::open().await;
    office.world.delivered("one", "push", 202);
    office.world.delivered("two", "push", 502);
    office.world.delivered("three", "pull_request", 502);
    office.world.delivered("three", "pull_request", 202);
    let since = office.clock.now();
    let missed = office.client.failed_deliveries(since).await.unwrap();
    let missed: Vec<_> =
        missed.iter().map(|delivery| (delivery.guid.as_str(), delivery.event.as_str())).collect();
    assert_eq!(missed, [("two", "push")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_gets_a_git_token_for_one_repository() {
    let office = Office::open().await;
    let token = office.client.git_token(&shop()).await.unwrap().unwrap();
    assert!(token.expose().starts_with("ghs_"));
}
