//! `GET /schemas/v1/{kind}.json`: the JSON Schemas of the config format, for editors.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use http::header::CONTENT_TYPE;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::{Reply, Response};

use super::Problem;
use crate::config::schema;

/// The files of `schema/v1/`, as the types say them.
static FILES: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| schema::files().into_iter().collect());

pub(super) fn routes() -> BoxedFilter<(Response,)> {
    warp::path!("schemas" / "v1" / String).and(warp::get()).map(|name: String| file(&name)).boxed()
}

fn file(name: &str) -> Response {
    let Some(text) = FILES.get(name) else {
        let known = FILES.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let problem = Problem::not_found(format!("There is no schema {name}."));
        return problem.hint(format!("There is {known}.")).into_response();
    };
    warp::reply::with_header(text.as_str(), CONTENT_TYPE, "application/schema+json").into_response()
}
