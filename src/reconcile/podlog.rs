//! The log of a service: that of its newest pod.

use futures::StreamExt as _;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{ReconcileError, Reconciler};
use crate::cluster::ClusterError;
use crate::cluster::logs::{self, LogOptions, PodRef};
use crate::desired::Environment;

/// Lines that wait for their reader.
const WAITING: usize = 64;

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

    /// The lines of the newest pod as they come, until its log ends or somebody stops it; none where there is no pod.
    ///
    /// They come by way of a task: what a cluster answers cannot be shared between threads, as a reply of warp has to
    /// be. It ends with the lines, or with whoever reads them.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub async fn follow_pod(
        &self,
        environment: &Environment,
        service: &str,
        options: &LogOptions,
        stop: CancellationToken,
    ) -> Result<Option<mpsc::Receiver<Result<String, ClusterError>>>, ReconcileError> {
        let Some(pod) = self.newest_pod(environment, service).await? else { return Ok(None) };
        let cluster = self.cluster(environment)?;
        let options = LogOptions { follow: true, ..options.clone() };
        let (namespace, redactor) = (environment.namespace.as_str(), &self.0.parts.redactor);
        let lines = logs::stream(cluster, namespace, &pod.name, &options, redactor).await?;
        let (sender, receiver) = mpsc::channel(WAITING);
        self.0.tasks.spawn(async move {
            let mut lines = std::pin::pin!(lines.take_until(stop.cancelled_owned()));
            loop {
                let line = tokio::select! {
                    () = sender.closed() => return,
                    line = lines.next() => line,
                };
                let Some(line) = line else { return };
                if sender.send(line).await.is_err() {
                    return;
                }
            }
        });
        Ok(Some(receiver))
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
