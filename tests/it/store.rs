//! What the store promises: rows that outlive a kill, logs without gap or double, a full disk that is said.

use std::path::{Path, PathBuf};

use branchline::store::{
    Deployment, NewDelivery, NewDeployment, NewLine, Store, StoreError, StoreOptions, Want,
};
use jiff::Timestamp;
use serde_json::json;
use tempfile::TempDir;

mod history;
mod inbox;
mod kill;
mod logs;
mod outbox;

/// A store in a folder of its own.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("branchline.db")
    }

    async fn open(&self) -> Store {
        Store::open(&self.path(), &StoreOptions::default()).await.unwrap()
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_763_800_000 + second).unwrap()
}

fn deployment(id: &str, service: &str) -> NewDeployment {
    NewDeployment {
        id: id.to_owned(),
        project: "shop".to_owned(),
        environment: "staging".to_owned(),
        service: service.to_owned(),
        input_digest: "d1".to_owned(),
        state: "queued".to_owned(),
        app_revision: Some("3f2c1aa0000000000000000000000000000000aa".to_owned()),
        config_revision: None,
        artifact: None,
        cause: "a push to main".to_owned(),
        reported_on: Some(("acme/api".to_owned(), "3f2c1aa0000000000000000000000000000000aa".to_owned())),
        brings: None,
        created: at(0),
    }
}

fn delivery(id: &str, body: &str) -> NewDelivery {
    NewDelivery {
        source: "github".to_owned(),
        id: id.to_owned(),
        event: "push".to_owned(),
        body: body.as_bytes().to_vec(),
        received: at(0),
    }
}

fn line(text: &str) -> NewLine {
    NewLine { stream: "stdout".to_owned(), time: at(1), line: text.to_owned() }
}

fn want(key: &str, text: &str, second: i64) -> Want {
    Want {
        key: key.to_owned(),
        channel: "acme".to_owned(),
        kind: "check".to_owned(),
        payload: json!({ "title": text }),
        not_before: at(second),
        now: at(second),
    }
}

async fn open_error(path: &Path) -> StoreError {
    Store::open(path, &StoreOptions::default()).await.expect_err("does not open")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_every_kind_of_row() {
    let place = Place::new();
    let store = place.open().await;
    let made: Deployment = store.create_deployment(deployment("01", "api")).await.unwrap();
    store.append_log("01", "build", vec![line("one")]).await.unwrap();
    store.receive(delivery("d-1", "{}")).await.unwrap();
    store.want(want("check/api", "queued", 0)).await.unwrap();
    store.put("addresses", "shop/api", b"127.0.0.1:4000").await.unwrap();
    store.close().await;

    let store = place.open().await;
    assert_eq!(store.deployment("01").await.unwrap().unwrap(), made);
    assert_eq!(store.log("01", None, 0, 10).await.unwrap()[0].line, "one");
    assert_eq!(store.waiting_deliveries(0, 10).await.unwrap()[0].id, "d-1");
    assert_eq!(store.outbox_item("check/api").await.unwrap().unwrap().version, 1);
    assert_eq!(store.get("addresses", "shop/api").await.unwrap().unwrap(), b"127.0.0.1:4000");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_allotted_once_whoever_asks() {
    let place = Place::new();
    let store = place.open().await;
    let asks = (0..20_u8).map(|n| {
        let store = store.clone();
        async move { store.put_if_absent("addresses", "shop/api", &[n]).await.unwrap() }
    });
    let answers = futures::future::join_all(asks).await;
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
    assert_eq!(store.list("addresses").await.unwrap(), vec![("shop/api".to_owned(), answers[0].clone())]);
    assert!(store.remove("addresses", "shop/api").await.unwrap());
    assert!(!store.remove("addresses", "shop/api").await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_on_the_same_folder_is_refused() {
    let place = Place::new();
    let _first = place.open().await;
    let error = open_error(&place.path()).await;
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("hint: stop the other server"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_of_a_newer_version_is_refused_with_the_way_out() {
    let place = Place::new();
    place.open().await.close().await;
    header(&place.path(), 60, 99);
    let error = open_error(&place.path()).await;
    assert!(matches!(error, StoreError::Newer { found: 99, known: 2, .. }), "{error:?}");
    assert!(error.to_string().contains("start the newer version again"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_or_damaged_file_is_refused_and_left_alone() {
    let place = Place::new();
    place.open().await.close().await;
    header(&place.path(), 68, 7);
    assert!(matches!(open_error(&place.path()).await, StoreError::NotOurs { .. }));

    let text = "certainly no database, but longer than the header of one would be\n".repeat(100);
    std::fs::write(place.path(), &text).unwrap();
    let error = open_error(&place.path()).await;
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
    assert!(error.to_string().contains("move the file away"));
    assert_eq!(std::fs::read_to_string(place.path()).unwrap(), text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_store_says_so_serves_reads_and_recovers_by_itself() {
    let place = Place::new();
    let options = StoreOptions { max_bytes: Some(512 * 1024), ..StoreOptions::default() };
    let store = Store::open(&place.path(), &options).await.unwrap();
    let big = "x".repeat(100_000);
    let mut stored = Vec::new();
    let error = loop {
        let id = format!("d-{}", stored.len());
        match store.receive(delivery(&id, &big)).await {
            Ok(_) => stored.push(id),
            Err(error) => break error,
        }
        assert!(stored.len() < 20, "the limit holds");
    };
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    assert!(error.passes() && error.to_string().contains("hint: free space"), "{error}");

    let waiting = store.waiting_deliveries(0, 100).await.unwrap();
    assert_eq!(waiting.iter().map(|found| found.id.clone()).collect::<Vec<_>>(), stored);
    // Handling what is there frees the space, and the next delivery fits again.
    let rows: Vec<i64> = waiting.iter().map(|found| found.seq).collect();
    store.finish_deliveries(&rows).await.unwrap();
    store.receive(delivery("after", &big)).await.unwrap();
    store.health().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_store_fails_all_writes_of_one_group_and_none_half() {
    let place = Place::new();
    let options = StoreOptions { max_bytes: Some(512 * 1024), ..StoreOptions::default() };
    let store = Store::open(&place.path(), &options).await.unwrap();
    let big = "x".repeat(60_000);
    let sends = (0..40).map(|n| {
        let (store, big) = (store.clone(), big.clone());
        async move { store.receive(delivery(&format!("d-{n}"), &big)).await.ok().map(|_| format!("d-{n}")) }
    });
    let mut acknowledged: Vec<String> =
        futures::future::join_all(sends).await.into_iter().flatten().collect();
    let mut there: Vec<String> =
        store.waiting_deliveries(0, 100).await.unwrap().into_iter().map(|found| found.id).collect();
    acknowledged.sort();
    there.sort();
    assert_eq!(acknowledged, there);
    assert!(there.len() < 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_removed_under_the_server_is_noticed() {
    let place = Place::new();
    let store = place.open().await;
    store.health().await.unwrap();
    std::fs::remove_file(place.path()).unwrap();
    let error = store.receive(delivery("d-1", "{}")).await.unwrap_err();
    assert!(matches!(error, StoreError::Gone { .. }), "{error:?}");
    assert!(store.health().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let store = place.open().await;
    store.receive(delivery("d-1", "{}")).await.unwrap();
    for entry in std::fs::read_dir(place.folder.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.file_name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_store_answers_what_it_took_and_refuses_the_rest() {
    let place = Place::new();
    let store = place.open().await;
    let taken = store.receive(delivery("d-1", "{}"));
    taken.await.unwrap();
    store.close().await;
    let error = store.receive(delivery("d-2", "{}")).await.unwrap_err();
    assert!(matches!(error, StoreError::Closed { .. }), "{error:?}");
    assert_eq!(place.open().await.waiting_deliveries(0, 10).await.unwrap().len(), 1);
}

/// Writes a number into the header of a database file: 60 is the user version, 68 the application id
/// (<https://sqlite.org/fileformat.html#the_database_header>).
fn header(path: &Path, offset: u64, number: u32) {
    use std::io::{Seek, SeekFrom, Write};
    let mut file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(offset)).unwrap();
    file.write_all(&number.to_be_bytes()).unwrap();
}
