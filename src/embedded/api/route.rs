//! From a method and a path to what is asked for.

use crate::embedded::kinds::{self, Kind};

/// What a path means.
#[derive(Debug)]
pub(crate) enum Route {
    /// `/version`, `/healthz`, `/livez`, `/readyz` and below.
    Version,
    Healthy,
    /// `/api` and `/apis`.
    CoreVersions,
    Groups,
    /// `/apis/GROUP`.
    Group(String),
    /// `/api/v1`, `/apis/GROUP/VERSION`.
    Resources(String),
    /// One resource or a collection.
    Resource(Target),
    /// A path below a served API version that names no resource of ours.
    UnknownResource,
    Nothing,
}

/// A collection, an object, or a subresource of an object.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) kind: &'static Kind,
    /// `None`: all namespaces, or a cluster-scoped kind.
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) subresource: Option<String>,
}

/// Reads a path.
pub(crate) fn route(path: &str) -> Route {
    let decoded: Option<Vec<String>> = path.trim_matches('/').split('/').map(percent_decoded).collect();
    let Some(segments) = decoded else { return Route::Nothing };
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    match segments.as_slice() {
        ["version"] => Route::Version,
        ["healthz" | "livez" | "readyz", ..] => Route::Healthy,
        ["api"] => Route::CoreVersions,
        ["apis"] => Route::Groups,
        ["api", version, rest @ ..] => versioned(version, rest),
        ["apis", group] => Route::Group((*group).to_owned()),
        ["apis", group, version, rest @ ..] => versioned(&format!("{group}/{version}"), rest),
        _ => Route::Nothing,
    }
}

fn versioned(api_version: &str, rest: &[&str]) -> Route {
    if rest.is_empty() {
        return Route::Resources(api_version.to_owned());
    }
    let (namespace, rest) = match rest {
        // a namespace itself, or one of its own subresources
        ["namespaces"] | ["namespaces", _] | ["namespaces", _, "status" | "finalize"] => (None, rest),
        ["namespaces", namespace, rest @ ..] => (Some((*namespace).to_owned()), rest),
        rest => (None, rest),
    };
    let owned = |text: &&str| (*text).to_owned();
    let (resource, name, subresource) = match rest {
        [resource] => (resource, None, None),
        [resource, name] => (resource, Some(owned(name)), None),
        [resource, name, subresource] => (resource, Some(owned(name)), Some(owned(subresource))),
        _ => return unknown(api_version),
    };
    let Some(kind) = kinds::by_resource(api_version, resource) else { return unknown(api_version) };
    if kind.namespaced != namespace.is_some() && (name.is_some() || namespace.is_some()) {
        return unknown(api_version);
    }
    Route::Resource(Target { kind, namespace, name, subresource })
}

fn unknown(api_version: &str) -> Route {
    let served = kinds::KINDS.iter().any(|kind| kind.api_version == api_version);
    if served { Route::UnknownResource } else { Route::Nothing }
}

/// Undoes percent-encoding; `None` where the result would be no text or hide a slash.
fn percent_decoded(segment: &str) -> Option<String> {
    if !segment.contains('%') {
        return Some(segment.to_owned());
    }
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    let text = String::from_utf8(bytes).ok()?;
    (!text.contains('/')).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(path: &str) -> String {
        match route(path) {
            Route::Resource(target) => format!(
                "{} {:?} {:?} {:?}",
                target.kind.kind, target.namespace, target.name, target.subresource
            ),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn paths_name_collections_objects_and_subresources() {
        assert_eq!(shape("/api/v1/namespaces"), "Namespace None None None");
        assert_eq!(shape("/api/v1/namespaces/shop"), "Namespace None Some(\"shop\") None");
        assert_eq!(
            shape("/api/v1/namespaces/shop/finalize"),
            "Namespace None Some(\"shop\") Some(\"finalize\")"
        );
        assert_eq!(shape("/api/v1/namespaces/shop/pods"), "Pod Some(\"shop\") None None");
        assert_eq!(shape("/api/v1/pods"), "Pod None None None");
        assert_eq!(
            shape("/apis/apps/v1/namespaces/shop/deployments/web/scale"),
            "Deployment Some(\"shop\") Some(\"web\") Some(\"scale\")"
        );
        assert_eq!(shape("/api/v1/pods/web"), "UnknownResource");
        assert_eq!(shape("/apis/apps/v2/deployments"), "Nothing");
        assert_eq!(shape("/api/v1/namespaces/a%2Fb/pods"), "Nothing");
    }
}
