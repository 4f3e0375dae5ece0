//! Source → config → desired: reads Git again and says what should exist.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;

use super::answers::{Answers, Place, Refs};
use super::basis::Basis;
use super::head::ConfigHead;
use super::{Hint, POLL, ReconcileError, Reconciler, Snapshot, chain};
use crate::config::Repository;
use crate::desired::{self, Inputs, PullRequest};
use crate::source::{Mirror, RepositoryUrl};

/// How soon a repository is tried again that could not be fetched.
const FIRST: Duration = Duration::from_secs(2);
/// How long a preview lasts where its project does not say.
const EXPIRE: Duration = Duration::from_secs(72 * 3600);

/// What one survey leaves for the next.
#[derive(Default)]
pub(super) struct Memory {
    /// The config as it was last read.
    head: Option<Arc<ConfigHead>>,
    /// Whether the config repository has been fetched since the start.
    fetched: bool,
    /// What the app repositories hold, as of the last fetch of each, by their keys.
    refs: BTreeMap<String, Arc<Refs>>,
    /// Why a repository could not be fetched the last time.
    failed: BTreeMap<String, String>,
    /// How long it is before the next try of such a repository.
    pauses: BTreeMap<String, Duration>,
    pulls: Vec<PullRequest>,
    /// The repositories that the config names, and the config.
    named: Option<(Arc<Repository>, BTreeSet<String>)>,
    /// What the snapshot was made of.
    basis: Option<Basis>,
    forge: super::forge::Known,
    answers: Answers,
    desired: desired::Memory,
    /// Heads that are remembered, by repository, revision and way.
    pub(super) heads: Arc<BTreeSet<super::seen::Head>>,
}

impl Memory {
    /// Notes that a repository could not be fetched, and says when to try it again: after a pause that doubles, until
    /// the poll is as soon.
    fn not_fetched(&mut self, key: &str, why: String) -> Option<Duration> {
        let pause = self.pauses.entry(key.to_owned()).or_insert(FIRST);
        let next = *pause;
        *pause = (next * 2).min(POLL);
        self.failed.insert(key.to_owned(), why);
        (next < POLL).then_some(next)
    }

    fn fetched(&mut self, key: &str) {
        self.failed.remove(key);
        self.pauses.remove(key);
    }
}

/// The mirror of every repository that the config names, or why it can have none.
type Mirrored = BTreeMap<String, Result<Mirror, String>>;

impl Reconciler {
    /// Fetches what the hints are about, and makes a new snapshot.
    pub(super) async fn survey(&self, hints: &BTreeSet<Hint>) -> Result<(), ReconcileError> {
        let mut memory = self.0.surveyed.lock().await;
        let begun = self.0.parts.clock.now();
        let everything = hints.contains(&Hint::Everything);
        let hinted = |url: &RepositoryUrl| everything || hints.contains(&Hint::Repository(url.clone()));
        let source = &self.0.parts.config;
        let mut troubles = Vec::new();
        let mirror = self.config_mirror(&mut memory, hinted(&source.url)).await;
        let head = match self.take_in(&mirror, &mut memory, &mut troubles).await {
            Ok(head) if head.config.is_usable() => head,
            Ok(head) => {
                memory.basis = None;
                self.stick(Some(begun), &troubles, Some(&head));
                return self.see_heads(&mut memory).await.map_err(Into::into);
            }
            Err(error) => {
                // what could not be fetched says nothing of the commits that wait for it
                memory.basis = None;
                self.stick(if memory.fetched { Some(begun) } else { None }, &troubles, None);
                return Err(error);
            }
        };
        let config = Arc::clone(&head.config);
        let mirrors = self.app_mirrors(&config, &mut memory).await;
        self.watch(mirrors.values().flatten().chain([&mirror]));
        self.fetch_apps(&mirrors, &mut memory, &hinted).await;
        let followed: BTreeSet<_> = mirrors.values().flatten().map(|mirror| mirror.url().key()).collect();
        let silent = followed.into_iter().filter(|key| *key != mirror.url().key());
        let silent = silent.filter_map(|key| memory.failed.get(key));
        troubles.extend(silent.map(|why| format!("not up to date: {why}")));
        let unlisted = self.list_pulls(&config, &mirrors, &mut memory, &hinted).await;
        let basis = Basis {
            config: Arc::clone(&config),
            addresses: Basis::addresses(&mirrors),
            refs: memory.refs.clone(),
            failed: memory.failed.clone(),
            pulls: memory.pulls.clone(),
            unlisted,
            records: self.records_version(),
            asked: AtomicBool::new(false),
        };
        let trouble = Some(troubles.join("\n")).filter(|trouble| !trouble.is_empty());
        let same = memory.basis.as_ref().is_some_and(|before| before.is_still(&basis));
        let made = if same && memory.answers.are_final {
            None
        } else {
            Some(self.put_together(&head, mirrors, basis, &mut memory).await?)
        };
        self.0.snapshot.send_modify(|snapshot| {
            if let Some(made) = made {
                *snapshot = Arc::new(made);
            }
            let snapshot = Arc::make_mut(snapshot);
            (snapshot.trouble, snapshot.stuck) = (trouble, None);
            (snapshot.begun, snapshot.at) = (Some(begun), Some(self.0.parts.clock.now()));
        });
        self.see_heads(&mut memory).await.map_err(Into::into)
    }

    /// What should exist, made anew.
    async fn put_together(
        &self,
        head: &ConfigHead,
        mirrors: Mirrored,
        basis: Basis,
        memory: &mut Memory,
    ) -> Result<Snapshot, ReconcileError> {
        let config = Arc::clone(&head.config);
        let is_of = |repo: &str, pull: &PullRequest| matches!(mirrors.get(repo), Some(Ok(mirror)) if mirror.url().key() == pull.repository);
        let lookups: Vec<_> =
            desired::lookups(&config, &memory.pulls, is_of).into_iter().map(Arc::new).collect();
        let places = places(&mirrors, memory);
        let found = memory.answers.ask(&lookups, &places).await;
        self.read_records().await?;
        let (environments, refused) = {
            let Memory { pulls, desired, .. } = &mut *memory;
            let inputs = Inputs {
                config: &config,
                found: &found,
                pulls,
                deployed: &|project, environment, service| {
                    basis.asked.store(true, Ordering::Relaxed);
                    self.deployed(project, environment, service)
                },
                embedded: self.0.parts.embedded,
                trust_pull_requests: self.0.parts.trust_pull_requests,
                hosts: &self.0.parts.hosts,
                addresses: &*self.0.parts.addresses,
            };
            (desired::desired(&inputs, desired), desired::refused(&inputs))
        };
        let mut snapshot = Snapshot {
            config_revision: Some(head.revision.clone()),
            environments,
            trouble: None,
            at: None,
            begun: None,
            stuck: None,
            unlisted: basis.unlisted.clone(),
            pulls: memory.pulls.clone(),
            refused,
            lookups: Arc::new(lookups),
            found: Arc::new(found),
            mirrors,
            heads: Arc::default(),
            unfetched: memory.failed.clone(),
            config,
            templates: Some(Arc::clone(&head.templates)),
        };
        snapshot.heads = self.heads(&snapshot);
        memory.basis = Some(basis);
        Ok(snapshot)
    }

    /// The mirror of the config repository, fetched where a hint is about it.
    async fn config_mirror(&self, memory: &mut Memory, hinted: bool) -> Mirror {
        let source = &self.0.parts.config;
        let key = source.url.key();
        let (mirror, fetched) = match self.cloned_from(&source.url).await {
            Ok(mirror) if memory.fetched && !hinted => return mirror,
            Ok(mirror) => {
                let fetched = mirror.fetch().await;
                (mirror, fetched.map(drop).map_err(|error| chain(&error)))
            }
            Err(why) => (self.mirror_of(&source.url), Err(why)),
        };
        match fetched {
            Ok(()) => {
                memory.fetched = true;
                memory.fetched(key);
            }
            Err(why) => {
                tracing::warn!(repository = %key, error = %why, "The config repository could not be fetched; what runs goes on.");
                self.ask_again_where(key);
                if let Some(pause) = memory.not_fetched(key, why) {
                    self.hint_after(pause, Hint::Repository(source.url.clone()));
                }
            }
        }
        mirror
    }

    /// The config cannot be followed, as of a look that began then; what the last good one says goes on.
    fn stick(&self, begun: Option<Timestamp>, troubles: &[String], head: Option<&ConfigHead>) {
        let why = troubles.join("\n");
        self.0.snapshot.send_modify(|snapshot| {
            let snapshot = Arc::make_mut(snapshot);
            snapshot.trouble = Some(why.clone());
            if let Some(head) = head {
                snapshot.config_revision = Some(head.revision.clone());
                snapshot.config = Arc::clone(&head.config);
            }
            if begun.is_some() {
                (snapshot.begun, snapshot.stuck) = (begun, Some(why));
            }
            snapshot.heads = self.heads(snapshot);
        });
    }

    /// The config as it is to be followed now. Where its head cannot be fetched or read, the one before stands.
    async fn take_in(
        &self,
        mirror: &Mirror,
        memory: &mut Memory,
        troubles: &mut Vec<String>,
    ) -> Result<Arc<ConfigHead>, ReconcileError> {
        let unfetched = memory.failed.get(self.0.parts.config.url.key());
        troubles.extend(unfetched.map(|why| format!("the config is not up to date: {why}")));
        let earlier = if memory.head.is_none() { self.earlier_config(mirror).await } else { None };
        let source = &self.0.parts.config;
        let (known, noted) = (memory.head.as_ref(), earlier.as_ref());
        let head = match ConfigHead::read(mirror, &source.branch, &source.path, known, noted).await {
            Ok(head) => head,
            Err(error) => {
                tracing::warn!(error = %chain(&error), "The config repository cannot be read; what runs goes on.");
                if troubles.is_empty() {
                    troubles.push(format!("the config is not up to date: {}", chain(&error)));
                }
                return memory.head.clone().or(earlier).ok_or_else(|| error.into());
            }
        };
        troubles.extend(head.trouble());
        if head.config.is_usable() {
            if let Err(error) = self.note_config(&head).await {
                tracing::warn!(error = %chain(&error), "What was taken in of the config could not be noted.");
            }
            memory.head = Some(Arc::clone(&head));
        }
        Ok(head)
    }

    /// The mirror of every repository that a service names; one that cannot be named is an answer of its own.
    async fn app_mirrors(&self, config: &Arc<Repository>, memory: &mut Memory) -> Mirrored {
        let named = match memory.named.take().filter(|(of, _)| Arc::ptr_eq(of, config)) {
            Some((_, named)) => named,
            None => {
                let all = config.projects.values().flat_map(|project| project.repositories(config));
                all.map(|(repo, _)| repo).collect()
            }
        };
        let mut mirrors = BTreeMap::new();
        for repo in &named {
            let mirror = match self.address(repo) {
                Ok(url) => self.cloned_from(&url).await,
                Err(error) => Err(error.to_string()),
            };
            mirrors.insert(repo.clone(), mirror);
        }
        memory.named = Some((Arc::clone(config), named));
        mirrors
    }

    /// Watches the repositories on this machine; one that cannot be watched is left to the poll.
    fn watch<'a>(&self, mirrors: impl Iterator<Item = &'a Mirror>) {
        let Some(watcher) = &self.0.parts.watcher else { return };
        for mirror in mirrors {
            if let Err(error) = watcher.watch(mirror.url()) {
                tracing::debug!(repository = %mirror.url(), error = %error, "A repository cannot be watched; it is polled.");
            }
        }
    }

    /// Fetches every hinted repository once, all at the same time, and reads the branches and pull requests of each.
    async fn fetch_apps(
        &self,
        mirrors: &Mirrored,
        memory: &mut Memory,
        hinted: &impl Fn(&RepositoryUrl) -> bool,
    ) {
        // what could not be fetched has its own time
        let is_new = |key: &str| !memory.refs.contains_key(key) && !memory.failed.contains_key(key);
        let due = unique(mirrors).into_iter().filter(|(key, mirror)| hinted(mirror.url()) || is_new(key));
        let fetches = due.map(|(key, mirror)| async move {
            match mirror.fetch().await {
                Ok(_) => (key, Refs::of(mirror).await, mirror),
                Err(error) => (key, Err(error), mirror),
            }
        });
        for (key, refs, mirror) in futures::future::join_all(fetches).await {
            match refs {
                Ok(refs) => {
                    memory.fetched(key);
                    if memory.refs.get(key).is_none_or(|known| **known != refs) {
                        memory.refs.insert(key.to_owned(), Arc::new(refs));
                    }
                }
                Err(error) => {
                    let why = chain(&error);
                    self.ask_again_where(key);
                    tracing::warn!(repository = %key, error = %why, "A repository could not be fetched; what runs goes on.");
                    if let Some(pause) = memory.not_fetched(key, why) {
                        self.hint_after(pause, Hint::Repository(mirror.url().clone()));
                    }
                    // what an earlier process fetched is still known
                    if !memory.refs.contains_key(key)
                        && let Ok(refs) = Refs::of(mirror).await
                    {
                        memory.refs.insert(key.to_owned(), Arc::new(refs));
                    }
                }
            }
        }
    }

    /// In a repository without a forge, `refs/pull/<n>/head` is an open pull request. What a repository that cannot be
    /// listed had before stays; its short name is among the answers.
    async fn list_pulls(
        &self,
        config: &Repository,
        mirrors: &Mirrored,
        memory: &mut Memory,
        hinted: &impl Fn(&RepositoryUrl) -> bool,
    ) -> BTreeSet<String> {
        let mut pulls: Vec<PullRequest> = Vec::new();
        let mut unlisted = BTreeSet::new();
        let expire = expiry(config);
        let now = self.0.parts.clock.now();
        for (repo, _) in mirrors.iter().filter(|(_, mirror)| mirror.is_err()) {
            let short = repo.rsplit('/').next().unwrap_or(repo).trim_end_matches(".git");
            pulls.extend(memory.pulls.iter().filter(|pull| pull.short_name == short).cloned());
            unlisted.insert(short.to_owned());
        }
        for (key, mirror) in unique(mirrors) {
            if mirror.url().has_forge() {
                continue;
            }
            if memory.failed.contains_key(key) {
                unlisted.insert(short_name(mirror));
            }
            let Some(refs) = memory.refs.get(key) else {
                unlisted.insert(short_name(mirror));
                pulls.extend(memory.pulls.iter().filter(|pull| pull.repository == key).cloned());
                continue;
            };
            for (number, head) in &refs.heads.pulls {
                let at = refs.pulled.get(number);
                let age = at.map_or(Duration::ZERO, |at| now.duration_since(*at).unsigned_abs());
                pulls.push(PullRequest {
                    repository: key.to_owned(),
                    short_name: short_name(mirror),
                    number: *number,
                    head: head.clone(),
                    base: None,
                    of_forge: false,
                    fork: None,
                    draft: false,
                    bot: false,
                    labels: Vec::new(),
                    expired: age > expire,
                });
            }
        }
        let of_forge = mirrors.values().flatten().filter(|mirror| mirror.url().has_forge());
        let (more, silent) =
            self.forge_pulls(&mut memory.forge, config, of_forge, &memory.pulls, hinted).await;
        pulls.extend(more);
        unlisted.extend(silent);
        memory.pulls = pulls;
        unlisted
    }
}

/// Where the questions to each repository go.
fn places(mirrors: &Mirrored, memory: &Memory) -> BTreeMap<String, Place> {
    let place = |mirror: &Result<Mirror, String>| {
        let mirror = mirror.clone()?;
        let key = mirror.url().key();
        let refs = memory.refs.get(key).cloned();
        // what was never fetched could not be fetched just now
        let refs = refs.ok_or_else(|| memory.failed.get(key).cloned().unwrap_or_default())?;
        Ok((mirror, refs))
    };
    mirrors.iter().map(|(repo, mirror)| (repo.clone(), place(mirror))).collect()
}

/// Each repository once, by its key.
fn unique(mirrors: &Mirrored) -> BTreeMap<&str, &Mirror> {
    mirrors.values().flatten().map(|mirror| (mirror.url().key(), mirror)).collect()
}

pub(super) fn short_name(mirror: &Mirror) -> String {
    mirror.url().name().trim_end_matches(".git").to_owned()
}

/// The shortest of the projects' expiries would be wrong for the others, so the longest decides what is listed;
/// a project with a shorter one is held to its own when its previews are made.
pub(super) fn expiry(config: &Repository) -> Duration {
    let all = config.projects.values().filter_map(|project| project.document.spec.previews.as_ref());
    all.filter_map(|previews| previews.expire_after).map(|period| period.0).max().unwrap_or(EXPIRE)
}
