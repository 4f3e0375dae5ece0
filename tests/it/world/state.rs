//! What the world is made of.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

/// The App that the world knows.
pub(crate) const APP_ID: u64 = 4711;
/// Its slug: its comments are `branchline-test[bot]`'s.
pub(crate) const APP_SLUG: &str = "branchline-test";
/// A personal token that the world knows, and whose.
pub(crate) const TOKEN: &str = "ghp_worldwide";
pub(crate) const TOKEN_USER: &str = "deployer";

/// When the world begins, in seconds: a time of its own, unless it is told what time it is.
pub(crate) const EPOCH: i64 = 1_763_800_000;

/// Everything there is.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) url: String,
    pub(crate) repositories: BTreeMap<String, Repository>,
    /// Old names, in lower case, and what they are called now.
    pub(crate) renamed: BTreeMap<String, String>,
    /// Installation tokens, and the installation's number.
    pub(crate) tokens: BTreeMap<String, u64>,
    pub(crate) faults: Vec<Planned>,
    /// `POST /repos/…` of every request, in order.
    pub(crate) asked: Vec<String>,
    /// What either side got wrong by GitHub's `OpenAPI`.
    pub(crate) mistakes: Vec<String>,
    pub(crate) deliveries: Vec<Value>,
    /// The host that `Link` headers name, where it is not the world's own.
    pub(crate) link_host: Option<String>,
    pub(crate) last_id: u64,
    pub(crate) second: i64,
}

/// A repository. Pull requests, runs, statuses and comments are GitHub's own objects, without what nobody looks at.
#[derive(Default)]
pub(crate) struct Repository {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) clone_url: String,
    /// Whether the App is installed on it; otherwise it is not there, for the App.
    pub(crate) installed: bool,
    pub(crate) commits: BTreeSet<String>,
    pub(crate) pulls: BTreeMap<u64, Value>,
    pub(crate) runs: Vec<Value>,
    pub(crate) annotations: BTreeMap<u64, Vec<Value>>,
    pub(crate) statuses: Vec<Value>,
    pub(crate) comments: Vec<Value>,
    pub(crate) locked: BTreeSet<u64>,
    pub(crate) permissions: BTreeMap<String, String>,
}

/// What goes wrong on demand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// 403 of a secondary limit, with `Retry-After` where it is given.
    SecondaryLimit(Option<u64>),
    /// 429 with `Retry-After`.
    TooMany(u64),
    /// 403, the primary limit used up until so many seconds from now.
    Exhausted(i64),
    /// 502 with a page of HTML.
    BadGateway,
    /// What was asked is done, and the connection is cut before the answer.
    CutAfterSuccess,
    /// 200 with bytes that are no JSON.
    Garbage,
    /// 403 as for a permission that was taken away.
    Forbidden,
    /// 401.
    Unauthorized,
}

/// A fault that waits for its request.
pub(crate) struct Planned {
    /// Part of `POST /repos/…`.
    pub(crate) at: String,
    pub(crate) fault: Fault,
    pub(crate) times: usize,
}

impl State {
    /// A number that nothing else has.
    pub(crate) fn id(&mut self) -> u64 {
        self.last_id += 1;
        1000 + self.last_id
    }

    /// A time later than every one before.
    pub(crate) fn time(&mut self) -> String {
        self.second += 1;
        jiff::Timestamp::from_second(EPOCH + self.second).expect("in range").to_string()
    }

    /// The fault that the request meets, if one waits for it.
    pub(crate) fn fault(&mut self, request: &str) -> Option<Fault> {
        let at = self.faults.iter().position(|planned| request.contains(&planned.at))?;
        let planned = &mut self.faults[at];
        planned.times -= 1;
        let fault = planned.fault.clone();
        if planned.times == 0 {
            self.faults.remove(at);
        }
        Some(fault)
    }

    pub(crate) fn repository(&mut self, name: &str) -> &mut Repository {
        self.repositories
            .get_mut(&name.to_ascii_lowercase())
            .unwrap_or_else(|| panic!("the world has no repository {name}"))
    }
}

impl Repository {
    /// As GitHub shows it.
    pub(crate) fn shown(&self) -> Value {
        let (owner, name) = self.name.split_once('/').expect("owner/name");
        json!({
            "id": self.id, "name": name, "full_name": self.name, "clone_url": self.clone_url,
            "default_branch": "main", "archived": false, "private": true,
            "owner": { "login": owner, "id": 1, "type": "Organization" },
        })
    }
}
