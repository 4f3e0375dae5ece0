//! The end of a namespace: all that is in it goes, then the namespace itself.

use std::time::Duration;

use http::Request;
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::{DeleteParams, ListParams, PropagationPolicy};

use super::catalog::Catalog;

/// How soon to look again while something is still on its way out.
const AGAIN: Duration = Duration::from_millis(250);

/// Takes the next step in deleting a namespace that is marked for it, and says when to look again.
pub(crate) async fn empty(
    client: &Client,
    catalog: &Catalog,
    namespace: &Namespace,
) -> Result<Option<Duration>, kube::Error> {
    let (Some(name), Some(_)) = (&namespace.metadata.name, &namespace.metadata.deletion_timestamp) else {
        return Ok(None);
    };
    let mut left = false;
    for served in catalog.all().filter(|served| served.namespaced) {
        let api = served.api(client.clone(), name);
        for object in api.list_metadata(&ListParams::default()).await? {
            left = true;
            if object.metadata.deletion_timestamp.is_some() {
                continue;
            }
            let params = DeleteParams {
                propagation_policy: Some(PropagationPolicy::Background),
                ..DeleteParams::default()
            };
            match api.delete(object.metadata.name.as_deref().unwrap_or_default(), &params).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                answer => drop(answer?),
            }
        }
    }
    if left {
        return Ok(Some(AGAIN));
    }
    finalize(client, namespace).await?;
    Ok(None)
}

/// Takes our finalizer off an empty namespace, upon which the server lets it go.
async fn finalize(client: &Client, namespace: &Namespace) -> Result<(), kube::Error> {
    let mut finalized = namespace.clone();
    if let Some(spec) = &mut finalized.spec {
        spec.finalizers.get_or_insert_default().retain(|finalizer| finalizer != "kubernetes");
    }
    let name = namespace.metadata.name.as_deref().unwrap_or_default();
    let body = serde_json::to_vec(&finalized).map_err(kube::Error::SerdeError)?;
    let request = Request::put(format!("/api/v1/namespaces/{name}/finalize"))
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(body)
        .map_err(kube::Error::HttpError)?;
    match client.request::<Namespace>(request).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        answer => answer.map(drop),
    }
}
