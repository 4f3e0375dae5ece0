//! The log of a service: that of its newest pod.

use futures::Stream;

use super::{ReconcileError, Reconciler};
use crate::cluster::ClusterError;
use crate::cluster::logs::{self, LogOptions, PodRef};
use crate::desired::Environment;

impl Reconciler {
    /// The lines of the newest pod; none where there is no pod.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub async fn pod_logs(
        &self,
        environment: &Environment,
        service: &str,
        options: &LogOptions,
    ) -> Result<Vec<String>, ReconcileError> {
        let Some(pod) = self.newest_pod(environment, service).await? else { return Ok(Vec::new()) };
        let cluster = self.cluster(environment)?;
        let (namespace, redactor) = (environment.namespace.as_str(), &self.0.parts.redactor);
        Ok(logs::tail(cluster, namespace, &pod.name, options, redactor).await?)
    }

    /// The lines of the newest pod as they come, until its log ends; none where there is no pod.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub async fn follow_pod(
        &self,
        environment: &Environment,
        service: &str,
        options: &LogOptions,
    ) -> Result<Option<impl Stream<Item = Result<String, ClusterError>> + Send + use<>>, ReconcileError> {
        let Some(pod) = self.newest_pod(environment, service).await? else { return Ok(None) };
        let cluster = self.cluster(environment)?;
        let options = LogOptions { follow: true, ..options.clone() };
        let (namespace, redactor) = (environment.namespace.as_str(), &self.0.parts.redactor);
        Ok(Some(logs::stream(cluster, namespace, &pod.name, &options, redactor).await?))
    }

    async fn newest_pod(
        &self,
        environment: &Environment,
        service: &str,
    ) -> Result<Option<PodRef>, ReconcileError> {
        let pods = logs::pods(self.cluster(environment)?, &environment.namespace, service).await?;
        Ok(pods.into_iter().next())
    }
}
