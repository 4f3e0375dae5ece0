//! What the app repositories answer to the questions of the config. Nothing is asked twice: an answer holds as long as
//! its question and the commits that it was asked at are the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::chain;
use crate::config;
use crate::desired::{Found, Lookup, LookupKey};
use crate::name::{PullNumber, Revision};
use crate::source::{Heads, Inputs, Mirror, Reader, SourceError};
use crate::yaml::Node;

/// The branches and open pull requests of a repository, as of its last fetch.
#[derive(PartialEq)]
pub(super) struct Refs {
    pub(super) heads: Heads,
    /// When the head of a pull request was committed, where that can be read.
    pub(super) pulled: BTreeMap<PullNumber, Timestamp>,
}

impl Refs {
    /// Reads them.
    pub(super) async fn of(mirror: &Mirror) -> Result<Self, SourceError> {
        mirror
            .with(|reader| {
                let heads = reader.heads()?;
                let at =
                    |(number, head): (&PullNumber, &Revision)| Some((*number, reader.commit(head).ok()?.at));
                let pulled = heads.pulls.iter().filter_map(at).collect();
                Ok(Self { heads, pulled })
            })
            .await
    }
}

/// The commits that a question is asked at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct At {
    /// The head whose newest change is wanted.
    head: Revision,
    /// For a pull request, the head of the branch that it left.
    branch: Option<Revision>,
}

/// An answer and what it holds for.
#[derive(Clone)]
struct Answer {
    lookup: Arc<Lookup>,
    at: At,
    found: Found,
}

/// A question that was not asked before.
struct Question {
    lookup: Arc<Lookup>,
    /// What was found in the service's own file at a revision, the last time.
    known: Option<(Revision, Option<Node>)>,
}

/// Where a repository's questions go, or why they have no answer.
pub(super) type Place = Result<(Mirror, Arc<Refs>), String>;

/// The answers of the last survey.
#[derive(Default)]
pub(super) struct Answers {
    known: BTreeMap<LookupKey, Answer>,
    /// Whether all of them hold as long as the repositories are as they are.
    pub(super) are_final: bool,
}

impl Answers {
    /// Answers every question.
    ///
    /// `places` says where the repositories are, by the words of the config.
    pub(super) async fn ask(
        &mut self,
        lookups: &[Arc<Lookup>],
        places: &BTreeMap<String, Place>,
    ) -> BTreeMap<LookupKey, Found> {
        let mut all = BTreeMap::new();
        let mut before = std::mem::take(&mut self.known);
        let mut open: BTreeMap<(&str, At), Vec<Question>> = BTreeMap::new();
        for lookup in lookups {
            let (mirror, refs) = match &places[&lookup.repo.0] {
                Ok(place) => place,
                Err(why) => {
                    all.insert(lookup.key.clone(), Found::Nothing(why.clone()));
                    continue;
                }
            };
            let at = match at(lookup, mirror, refs) {
                Ok(at) => at,
                Err(error) => {
                    all.insert(lookup.key.clone(), Found::Nothing(chain(&error)));
                    continue;
                }
            };
            match before.remove(&lookup.key) {
                Some(answer) if answer.at == at && answer.lookup == *lookup => {
                    all.insert(lookup.key.clone(), answer.found.clone());
                    self.known.insert(lookup.key.clone(), answer);
                }
                old => {
                    let known = old.filter(|old| old.lookup.app_file == lookup.app_file);
                    let known = known.and_then(|old| match old.found {
                        Found::Revision { revision, app_file, .. } => Some((revision, app_file)),
                        Found::Nothing(_) => None,
                    });
                    let question = Question { lookup: Arc::clone(lookup), known };
                    open.entry((lookup.repo.0.as_str(), at)).or_default().push(question);
                }
            }
        }
        let asked = open.into_iter().map(|((repo, at), questions)| async move {
            let Ok((mirror, _)) = &places[repo] else { return Vec::new() };
            answer(mirror, at, questions).await
        });
        self.are_final = true;
        for (answer, is_final) in futures::future::join_all(asked).await.into_iter().flatten() {
            all.insert(answer.lookup.key.clone(), answer.found.clone());
            if is_final {
                self.known.insert(answer.lookup.key.clone(), answer);
            }
            self.are_final &= is_final;
        }
        all
    }
}

fn at(lookup: &Lookup, mirror: &Mirror, refs: &Refs) -> Result<At, SourceError> {
    let branch = refs.heads.branches.get(&lookup.branch).cloned();
    match &lookup.head {
        Some(head) => Ok(At { head: head.clone(), branch }),
        None => {
            let repository = mirror.url().to_string();
            let missing = || SourceError::NoBranch { repository, branch: lookup.branch.clone() };
            Ok(At { head: branch.ok_or_else(missing)?, branch: None })
        }
    }
}

/// Answers all questions to one repository at one head: its history is walked once. An answer that only says that
/// something could not be read is not final.
async fn answer(mirror: &Mirror, at: At, questions: Vec<Question>) -> Vec<(Answer, bool)> {
    let lookups: Vec<_> = questions.iter().map(|question| Arc::clone(&question.lookup)).collect();
    let of = at.clone();
    let read = mirror.with(move |reader| Asked::new(reader, of)?.all(&questions)).await;
    let found = read.unwrap_or_else(|error| vec![(Found::Nothing(chain(&error)), false); lookups.len()]);
    let answer = |(lookup, (found, is_final))| (Answer { lookup, at: at.clone(), found }, is_final);
    lookups.into_iter().zip(found).map(answer).collect()
}

/// A repository at one head.
struct Asked<'a> {
    reader: &'a Reader<'a>,
    at: At,
    /// For a pull request, the paths that it changes; `None` where its history has nothing in common with the branch.
    changed: Option<Vec<String>>,
}

impl<'a> Asked<'a> {
    fn new(reader: &'a Reader<'a>, at: At) -> Result<Self, SourceError> {
        let base = match &at.branch {
            Some(branch) => reader.merge_base(&at.head, branch)?,
            None => None,
        };
        let changes = base.map(|base| reader.changed(&base, &at.head)).transpose()?;
        let changed = changes.map(|changes| changes.into_iter().map(|change| change.path).collect());
        Ok(Self { reader, at, changed })
    }

    fn all(&self, questions: &[Question]) -> Result<Vec<(Found, bool)>, SourceError> {
        let inputs: Vec<_> = questions
            .iter()
            .map(|question| Inputs::new(&question.lookup.paths, &question.lookup.ignored))
            .collect();
        let sound: Vec<Inputs> = inputs.iter().flatten().cloned().collect();
        let mut newest = self.reader.newest_changes(&self.at.head, &sound)?.into_iter();
        let mut all = Vec::with_capacity(questions.len());
        for (question, inputs) in questions.iter().zip(inputs) {
            let found = match inputs {
                Ok(inputs) => self.one(question, &inputs, newest.next().flatten()),
                Err(error) => Ok(Found::Nothing(error.to_string())),
            };
            let is_final = found.is_ok();
            all.push((found.unwrap_or_else(|error| Found::Nothing(chain(&error))), is_final));
        }
        Ok(all)
    }

    fn one(
        &self,
        question: &Question,
        inputs: &Inputs,
        newest: Option<Revision>,
    ) -> Result<Found, SourceError> {
        let lookup = &question.lookup;
        let Some(revision) = newest else {
            return Ok(Found::Nothing(format!("nothing in it matches {}", lookup.paths.join(", "))));
        };
        let changed = self.changed.as_ref().is_none_or(|paths| paths.iter().any(|path| inputs.matches(path)));
        let known = question.known.as_ref().filter(|(of, _)| *of == revision);
        let app_file = match known {
            Some((_, app_file)) => app_file.clone(),
            None => match self.app_file(&revision, &lookup.app_file)? {
                Ok(app_file) => app_file,
                Err(why) => return Ok(Found::Nothing(why)),
            },
        };
        Ok(Found::Revision { revision, head: self.at.head.clone(), changed, app_file })
    }

    /// The app repository's own file at a revision, or what is wrong with it.
    fn app_file(&self, revision: &Revision, path: &str) -> Result<Result<Option<Node>, String>, SourceError> {
        match self.reader.read(revision, path) {
            Ok(bytes) => {
                let node = config::app_service(path, &String::from_utf8_lossy(&bytes));
                Ok(node.map_err(|problems| {
                    let first = problems.first().map(ToString::to_string).unwrap_or_default();
                    format!("its own file is broken: {first}")
                }))
            }
            Err(SourceError::NoPath { .. }) => Ok(Ok(None)),
            Err(error) => Err(error),
        }
    }
}
