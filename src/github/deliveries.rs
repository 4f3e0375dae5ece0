//! Deliveries of the App's webhook that failed, as they do while we are down.

use http::Method;
use jiff::Timestamp;
use serde::Deserialize;

use super::client::{As, Ask, Client};
use super::error::GitHubError;

/// A delivery that we never accepted.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct FailedDelivery {
    /// The id of the event; a redelivery has the same.
    pub guid: String,
    /// When it was sent.
    pub delivered_at: Timestamp,
    /// Which event.
    #[serde(default)]
    pub event: String,
    /// The number of the repository that it is about.
    #[serde(default)]
    pub repository_id: Option<u64>,
    #[serde(default)]
    status_code: u16,
}

impl Client {
    /// The newest hundred deliveries since `since` that we did not answer with success. They are hints: whoever asks
    /// marks what they are about as due, or everything, where there may be more.
    ///
    /// # Errors
    /// We are no App (only Apps have one webhook for everything), or GitHub does not answer.
    pub async fn failed_deliveries(&self, since: Timestamp) -> Result<Vec<FailedDelivery>, GitHubError> {
        let mut deliveries: Vec<FailedDelivery> = self
            .ask::<_, ()>(Ask {
                doing: "list the deliveries of our webhook".to_owned(),
                who: As::Us,
                method: Method::GET,
                path: "/app/hook/deliveries?per_page=100".to_owned(),
                body: None,
            })
            .await?;
        let accepted: std::collections::BTreeSet<String> = deliveries
            .iter()
            .filter(|delivery| (200..300).contains(&delivery.status_code))
            .map(|delivery| delivery.guid.clone())
            .collect();
        deliveries.retain(|delivery| delivery.delivered_at >= since && !accepted.contains(&delivery.guid));
        Ok(deliveries)
    }
}
