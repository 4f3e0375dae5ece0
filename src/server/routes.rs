//! The routes, group by group.

use std::convert::Infallible;

use http::Request;
use http_body_util::Limited;
use hyper::body::Incoming;
use tower::util::BoxCloneSyncService;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::{ServerState, error, health, metrics, schemas, webhook};

/// What [`Routes::finish`] makes.
pub(super) type Finished = BoxCloneSyncService<Request<Limited<Incoming>>, Response, Infallible>;

/// Groups of routes, asked in their order. Each is boxed by whoever makes it, so that none makes the others
/// slow to compile.
pub struct Routes(BoxedFilter<(Response,)>);

impl Routes {
    /// Health, figures, webhooks and the schemas of the config.
    #[must_use]
    pub fn base(state: &ServerState) -> Self {
        Self(health::routes(state))
            .and(metrics::routes(state))
            .and(webhook::routes(state))
            .and(schemas::routes())
    }

    /// With another group. Its handlers answer a [`super::Problem`] for what goes wrong; what it rejects
    /// becomes one too.
    #[must_use]
    pub fn and(self, group: BoxedFilter<(Response,)>) -> Self {
        Self(self.0.or(group).unify().boxed())
    }

    pub(super) fn finish(self) -> Finished {
        BoxCloneSyncService::new(warp::service(self.0.recover(error::recover).unify().boxed()))
    }
}

/// Hands a clone of `value` to a handler.
pub(super) fn with<T: Clone + Send + Sync>(
    value: &T,
) -> impl Filter<Extract = (T,), Error = Infallible> + Clone + use<T> {
    let value = value.clone();
    warp::any().map(move || value.clone())
}
