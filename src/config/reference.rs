//! References such as `${{ services.api.url }}`: finding them in texts and putting values in their place.
//!
//! They are resolved before any template runs, and what they give is never looked at again, so no value can become a
//! reference, YAML or Handlebars. `$${{` stands for `${{` itself.

use std::fmt;

/// A text cut at its references.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpolated {
    /// The pieces in their order.
    pub pieces: Vec<Piece>,
}

/// A piece of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Text as it is, escapes undone.
    Text(String),
    /// A reference.
    Reference(Reference),
}

/// What a text refers to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// Where to look.
    pub namespace: ReferenceNamespace,
    /// The name there; empty for `git`, `project`, `environment` and `preview`, which have only keys.
    pub name: String,
    /// What of it.
    pub key: String,
}

/// Where a reference looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReferenceNamespace {
    /// Outputs of an add-on: `addons.db.url`.
    Addons,
    /// Outputs of another service: `services.api.url`.
    Services,
    /// `shared` of the environment: `shared.DOMAIN`.
    Shared,
    /// Another variable of the same service: `env.HOST`.
    Env,
    /// The revision: `git.sha`, `git.shortSha`, `git.branch`.
    Git,
    /// The project: `project.name`.
    Project,
    /// The environment: `environment.name`, `environment.namespace`.
    Environment,
    /// The pull request of a preview: `preview.number`, empty elsewhere.
    Preview,
    /// A key of the environment's secrets: `secrets.stripe-key`.
    Secrets,
    /// A sibling by its name: `${{ db.url }}`; a service or an add-on.
    Sibling,
}

impl ReferenceNamespace {
    const WORDS: [(&'static str, Self); 9] = [
        ("addons", Self::Addons),
        ("services", Self::Services),
        ("shared", Self::Shared),
        ("env", Self::Env),
        ("git", Self::Git),
        ("project", Self::Project),
        ("environment", Self::Environment),
        ("preview", Self::Preview),
        ("secrets", Self::Secrets),
    ];

    /// The keys of a namespace that has no names, and of the outputs of services.
    #[must_use]
    pub fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Git => &["sha", "shortSha", "branch"],
            Self::Project => &["name"],
            Self::Environment => &["name", "namespace"],
            Self::Preview => &["number"],
            Self::Services => &["url", "host", "port", "publicUrl", "publicHost"],
            _ => &[],
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word =
            ReferenceNamespace::WORDS.iter().find(|(_, ns)| *ns == self.namespace).map(|(word, _)| *word);
        let parts = [word.unwrap_or_default(), &self.name, &self.key];
        let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        write!(f, "${{{{ {} }}}}", parts.join("."))
    }
}

/// A reference that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ReferenceError {
    /// What is wrong.
    pub message: String,
}

fn refuse<T>(message: String) -> Result<T, ReferenceError> {
    Err(ReferenceError { message })
}

impl Interpolated {
    /// Cuts a text at its references.
    ///
    /// # Errors
    /// A reference that does not end, or that does not have two or three parts.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("${{") {
            let escaped = rest[..at].ends_with('$');
            plain.push_str(&rest[..at - usize::from(escaped)]);
            rest = &rest[at + 3..];
            if escaped {
                plain.push_str("${{");
                continue;
            }
            let Some(end) = rest.find("}}") else {
                return refuse("a reference begins with `${{` and does not end".to_owned());
            };
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(Piece::Reference(Reference::parse(rest[..end].trim())?));
            rest = &rest[end + 2..];
        }
        plain.push_str(rest);
        if !plain.is_empty() || pieces.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self { pieces })
    }

    /// The references of the text.
    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        self.pieces.iter().filter_map(|piece| if let Piece::Reference(r) = piece { Some(r) } else { None })
    }

    /// Puts values in the place of references.
    ///
    /// # Errors
    /// The first error of `value`.
    pub fn resolve<E>(&self, mut value: impl FnMut(&Reference) -> Result<String, E>) -> Result<String, E> {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(plain) => text.push_str(plain),
                Piece::Reference(reference) => text.push_str(&value(reference)?),
            }
        }
        Ok(text)
    }
}

impl Reference {
    fn parse(text: &str) -> Result<Self, ReferenceError> {
        let parts: Vec<&str> = text.split('.').collect();
        let word = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        if !parts.iter().all(|part| word(part)) {
            return refuse(format!(
                "`{text}` is no reference: it takes words joined by dots, such as services.api.url"
            ));
        }
        let namespace = ReferenceNamespace::WORDS.iter().find(|(w, _)| *w == parts[0]).map(|(_, ns)| *ns);
        let (namespace, name, key) = match (namespace, parts.as_slice()) {
            (Some(ns @ (ReferenceNamespace::Addons | ReferenceNamespace::Services)), [_, name, key]) => {
                (ns, *name, *key)
            }
            (
                Some(
                    ns @ (ReferenceNamespace::Shared | ReferenceNamespace::Env | ReferenceNamespace::Secrets),
                ),
                [_, key],
            ) => (ns, "", *key),
            (Some(ns), [_, key]) if !ns.keys().is_empty() && ns != ReferenceNamespace::Services => {
                (ns, "", *key)
            }
            (None, [name, key]) => (ReferenceNamespace::Sibling, *name, *key),
            _ => {
                return refuse(format!(
                    "`{text}` is no reference: write services.NAME.url, shared.NAME, git.sha or the like"
                ));
            }
        };
        Ok(Self { namespace, name: name.to_owned(), key: key.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(text: &str) -> Result<String, ReferenceError> {
        Interpolated::parse(text)?.resolve(|reference| Ok(format!("<{reference}>")))
    }

    #[test]
    fn references_are_found_and_escapes_are_undone() {
        assert_eq!(resolved("plain").as_deref(), Ok("plain"));
        assert_eq!(resolved("").as_deref(), Ok(""));
        assert_eq!(
            resolved("a ${{services.api.url}}/x ${{ git.sha }}").as_deref(),
            Ok("a <${{ services.api.url }}>/x <${{ git.sha }}>")
        );
        assert_eq!(resolved("$${{ git.sha }} ${X} $$").as_deref(), Ok("${{ git.sha }} ${X} $$"));
        assert_eq!(resolved("${{ db.url }}").as_deref(), Ok("<${{ db.url }}>"));
        for bad in [
            "${{ git.sha",
            "${{ }}",
            "${{ git }}",
            "${{ services.api }}",
            "${{ a.b.c.d }}",
            "${{ git.sha | upper }}",
        ] {
            assert!(resolved(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_value_is_never_looked_at_again() {
        let text = Interpolated::parse("${{ env.X }}").expect("a reference");
        assert_eq!(
            text.resolve(|_| Ok::<_, ()>("${{ git.sha }}".to_owned())),
            Ok("${{ git.sha }}".to_owned())
        );
    }
}
