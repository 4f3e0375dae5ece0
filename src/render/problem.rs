//! What can be wrong with a template or with what it makes, worded for the template's author.

use std::fmt;

use crate::yaml::Place;

/// A problem and the line of the template that it stands on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}{}", Hint(*.hint))]
pub struct RenderError {
    /// The template's file, line and column.
    pub place: Place,
    /// What is wrong.
    pub problem: Problem,
    /// The way out.
    pub hint: Option<&'static str>,
}

impl RenderError {
    pub(super) fn new(file: &str, line: usize, column: usize, problem: Problem) -> Self {
        let clamp = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).max(1);
        let place = Place { file: file.into(), line: clamp(line), column: clamp(column) };
        Self { place, hint: problem.hint(), problem }
    }

    /// The path of the value that the problem is about, such as `params.ingressClass`, so that the caller can name
    /// the line of the config repository where that value was set.
    #[must_use]
    pub fn value(&self) -> Option<&str> {
        match &self.problem {
            Problem::Missing { path, .. } | Problem::Parameter { path, .. } => Some(path),
            Problem::NoScalar { path: Some(path), .. } | Problem::Required { path: Some(path), .. } => {
                Some(path)
            }
            _ => None,
        }
    }
}

struct Hint(Option<&'static str>);

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |hint| write!(f, "; hint: {hint}"))
    }
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// No template of this name is built in or stands in the config repository.
    #[error("there is no template `{name}`{}", Meant(suggestion.as_deref()))]
    NoTemplate {
        /// The name that was asked for.
        name: String,
        /// A name that was probably meant.
        suggestion: Option<String>,
    },
    /// `template.yaml` cannot be read.
    #[error("{0}")]
    Description(String),
    /// The text is no Handlebars.
    #[error("this is no valid Handlebars: {0}")]
    Syntax(String),
    /// A construct of Handlebars that templates may not use.
    #[error("{0} cannot be used in a template")]
    Construct(&'static str),
    /// `{{{…}}}` prints something else than a structure.
    #[error("`{{{{{{…}}}}}}` prints structures only: `{{{{{{yaml value}}}}}}` or `{{{{{{json value}}}}}}`")]
    RawValue,
    /// A value stands inside other text, where it would not be a whole scalar.
    #[error("the value does not stand alone: it is printed as a whole quoted scalar")]
    Embedded,
    /// `{{{yaml …}}}` stands behind other text or before some.
    #[error("`{{{{{{yaml …}}}}}}` takes a line of its own")]
    StructureInline,
    /// The `indent` of `{{{yaml …}}}` is not the column where it stands.
    #[error("indent={given}, but the structure stands at column {column}")]
    Indent {
        /// The indent that the template gives.
        given: String,
        /// The column where the structure stands, from zero.
        column: usize,
    },
    /// A helper that does not exist.
    #[error("there is no helper `{name}`{}", Meant(suggestion.as_deref()))]
    NoHelper {
        /// The helper's name in the template.
        name: String,
        /// A name that was probably meant.
        suggestion: Option<String>,
    },
    /// A partial that does not exist.
    #[error("there is no partial `{name}`{}", Meant(suggestion.as_deref()))]
    NoPartial {
        /// The partial's name in the template.
        name: String,
        /// A name that was probably meant.
        suggestion: Option<String>,
    },
    /// Partials that include each other.
    #[error("the partial `{0}` includes itself: {1}")]
    Recursion(String, String),
    /// Blocks and partials nested too deep.
    #[error("blocks and partials are nested {0} levels deep, more than {1}")]
    Nesting(usize, usize),
    /// A variable that the values do not hold.
    #[error("`{path}` is missing{}", Meant(suggestion.as_deref()))]
    Missing {
        /// The path as the template writes it.
        path: String,
        /// A path that was probably meant.
        suggestion: Option<String>,
    },
    /// A loop over something that is no list and no map.
    #[error("`{path}` is {found}, where a list or a map is needed")]
    NoList {
        /// The path as the template writes it.
        path: String,
        /// What stands there.
        found: &'static str,
    },
    /// A scalar was needed and a structure or nothing was found.
    #[error("{} is {found}, where a text, a number or a boolean is needed", Subject(path.as_deref()))]
    NoScalar {
        /// The path as the template writes it.
        path: Option<String>,
        /// What stands there.
        found: &'static str,
    },
    /// The helper `required` found nothing.
    #[error("{message}")]
    Required {
        /// The template's own words.
        message: String,
        /// The path as the template writes it.
        path: Option<String>,
    },
    /// A helper was called in a way it cannot answer.
    #[error("the helper `{helper}` {message}")]
    Helper {
        /// The helper.
        helper: &'static str,
        /// What it needs.
        message: String,
    },
    /// A parameter breaks the template's schema.
    #[error("the parameter `{path}` is not accepted: {message}")]
    Parameter {
        /// The parameter's path, such as `params.ingressClass`.
        path: String,
        /// What the schema says.
        message: String,
    },
    /// The rendering asks for more than its budget.
    #[error("the template makes too much: more than {0}")]
    Budget(&'static str),
    /// The rendered text is no YAML.
    #[error("the rendered text is no valid YAML (rendered line {line}): {message}")]
    Yaml {
        /// The line of the rendered text.
        line: u32,
        /// What the reader says.
        message: String,
    },
    /// A rendered document is no Kubernetes object.
    #[error("the rendered document is no Kubernetes object: {0}")]
    NoObject(String),
    /// The template sets what only we set.
    #[error("`{0}` is set by Branchline on every object")]
    Ours(String),
    /// Anything else that Handlebars reports.
    #[error("{0}")]
    Other(String),
}

impl Problem {
    fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Embedded => "join its parts with a helper, as in {{concat repository \":\" tag}}",
            Self::RawValue => "{{value}} prints a scalar, quoted where that is needed",
            Self::StructureInline => {
                "put it below its key, indented, or print it inline with {{{json value}}}"
            }
            Self::Indent { .. } => "leave indent out: it is the column where the structure stands",
            Self::NoScalar { found: "null", .. } => "guard it with {{#if …}} or give {{default … \"…\"}}",
            Self::NoScalar { .. } => "print a structure with {{{yaml value}}} or {{{json value}}}",
            Self::Missing { suggestion: None, .. } => {
                "docs/templates.md lists the values that a template is given"
            }
            Self::NoPartial { suggestion: None, .. } => {
                "partials stand in the template's own partials/ or in templates/partials/"
            }
            Self::Construct("a decorator or an inline partial") => {
                "put the text into partials/ and include it with {{> name}}"
            }
            Self::Construct("a partial with a block") => {
                "include it with {{> name}} and pass values: {{> name key=value}}"
            }
            Self::Construct("a computed partial name") => "name the partial: {{> name}}",
            Self::Ours(_) => "leave it out of the template",
            Self::Budget(_) => "make less in one template, or give it smaller values",
            _ => return None,
        })
    }
}

struct Meant<'a>(Option<&'a str>);

impl fmt::Display for Meant<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |name| write!(f, "; hint: did you mean `{name}`?"))
    }
}

struct Subject<'a>(Option<&'a str>);

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(path) => write!(f, "`{path}`"),
            None => f.write_str("the value"),
        }
    }
}

/// Finds the name nearest to `name` among `known`, if one is near enough to have been meant.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let limit = (name.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= limit && *candidate != name)
        .min()
        .map(|(_, candidate)| candidate.to_owned())
}

/// Counts the letters to add, drop, change or swap with their neighbour to make one text of the other (optimal string
/// alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let mut fewest =
                (last[j - 1] + usize::from(a[i - 1] != b[j - 1])).min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                fewest = fewest.min(before[j - 2] + 1);
            }
            row.push(fewest);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}
