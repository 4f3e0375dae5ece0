//! What an earlier process left half-written, put right before the first look.
//!
//! The end of a rollout is three rows: the service, its deployment, and the deployment before. A kill between them
//! leaves a service that is live by a deployment that has not ended, or two deployments that are live at once.

use std::collections::BTreeMap;

use super::{ReconcileError, Reconciler};
use crate::desired::Runtime;
use crate::store::DeploymentFilter;

/// Deployments that are looked at; there is one live of each service.
const MOST: u32 = 100_000;

impl Reconciler {
    /// Ends what the records say has ended. What is unfinished is taken up by the attempts.
    pub(super) async fn recover(&self) -> Result<(), ReconcileError> {
        self.recover_urls().await?;
        let store = self.store();
        let live: BTreeMap<_, _> = store
            .services(None, None)
            .await?
            .into_iter()
            .filter_map(|row| Some(((row.project, row.environment, row.service), row.live_deployment?)))
            .collect();
        let filter =
            DeploymentFilter { states: vec!["live".to_owned()], limit: MOST, ..DeploymentFilter::default() };
        for deployment in store.deployments(&filter).await? {
            let key = (deployment.project, deployment.environment, deployment.service);
            match live.get(&key) {
                Some(id) if *id == deployment.id => {}
                Some(_) => self.end(&deployment.id, "replaced", None).await?,
                None => self.end(&deployment.id, "removed", None).await?,
            }
        }
        let filter = DeploymentFilter { unfinished: true, limit: MOST, ..DeploymentFilter::default() };
        for deployment in store.deployments(&filter).await? {
            let key = (deployment.project, deployment.environment, deployment.service);
            if live.get(&key) == Some(&deployment.id) {
                self.end(&deployment.id, "live", None).await?;
            } else if let (Ok(project), Ok(environment), Ok(service)) =
                (key.0.parse(), key.1.parse(), key.2.parse())
            {
                let mut unfinished = self.0.unfinished.lock().expect("no holder of this lock panics");
                unfinished.insert((project, environment, service));
            }
        }
        Ok(())
    }

    /// What runs as processes is reached where the proxy is now, also what no attempt looks at.
    async fn recover_urls(&self) -> Result<(), ReconcileError> {
        for (key, record) in self.records(|_| true).await? {
            let url = record.detail.url.as_deref().and_then(|url| url::Url::parse(url).ok());
            // only the proxy has a port
            let Some(url) = url.filter(|url| url.port().is_some()) else { continue };
            let here = url.host_str().map(|host| self.0.parts.hosts.url(Runtime::Process, host));
            self.put_record(&key, |_, detail| detail.url = here).await?;
        }
        Ok(())
    }
}
