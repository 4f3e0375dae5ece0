//! The style sheet, the script and the icon: named by their content, so that a browser keeps them for good.

use std::sync::Arc;

use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue};
use warp::filters::BoxedFilter;
use warp::reply::Response;
use warp::{Filter, Reply};

use crate::hash::Hasher;
use crate::server::Problem;

const FOR_GOOD: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// One file, under the name of its content.
struct Asset {
    name: String,
    etag: HeaderValue,
    media_type: &'static str,
    text: &'static str,
}

/// All of them. Clones share them.
#[derive(Clone)]
pub(super) struct Assets(Arc<[Asset; 3]>);

impl Assets {
    pub(super) fn new() -> Self {
        let asset = |stem: &str, extension: &str, media_type: &'static str, text: &'static str| {
            let hash = Hasher::new("asset").text(text).finish().short();
            let etag = HeaderValue::try_from(format!("\"{hash}\"")).expect("hexadecimal digits fit a header");
            Asset { name: format!("{stem}.{}.{extension}", &hash[..12]), etag, media_type, text }
        };
        Self(Arc::new([
            asset(
                "style",
                "css",
                "text/css; charset=utf-8",
                include_str!("../../../templates/dashboard/style.css"),
            ),
            asset(
                "script",
                "js",
                "text/javascript; charset=utf-8",
                include_str!("../../../templates/dashboard/script.js"),
            ),
            asset("icon", "svg", "image/svg+xml", include_str!("../../../templates/dashboard/icon.svg")),
        ]))
    }

    pub(super) fn style(&self) -> String {
        self.path(0)
    }

    pub(super) fn script(&self) -> String {
        self.path(1)
    }

    pub(super) fn icon(&self) -> String {
        self.path(2)
    }

    fn path(&self, index: usize) -> String {
        format!("/assets/{}", self.0[index].name)
    }

    fn answer(&self, name: &str, known: Option<&str>) -> Response {
        let Some(asset) = self.0.iter().find(|asset| asset.name == name) else {
            return Problem::not_found("There is no such file.").into_response();
        };
        let etag = asset.etag.to_str().unwrap_or_default();
        // a proxy that compresses makes the tag a weak one
        let fresh = known.is_some_and(|known| {
            known.split(',').any(|tag| tag.trim().trim_start_matches("W/") == etag || tag.trim() == "*")
        });
        let mut response =
            if fresh { StatusCode::NOT_MODIFIED.into_response() } else { asset.text.into_response() };
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(asset.media_type));
        headers.insert(CACHE_CONTROL, FOR_GOOD);
        headers.insert(ETAG, asset.etag.clone());
        response
    }
}

pub(super) fn routes(assets: &Assets) -> BoxedFilter<(Response,)> {
    let assets = assets.clone();
    warp::path!("assets" / String)
        .and(warp::get())
        .and(warp::header::optional::<String>("if-none-match"))
        .map(move |name: String, known: Option<String>| assets.answer(&name, known.as_deref()))
        .boxed()
}
