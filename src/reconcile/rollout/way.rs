//! The way of a rollout, phase by phase: build or wait for the image → apply → observe → prune.

use std::pin::pin;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{End, Work};
use crate::build::{LogLine, Stream};
use crate::name::ImageRef;
use crate::reconcile::record::{Begun, Failure};
use crate::reconcile::{ReconcileError, Reconciler, chain};

impl Reconciler {
    /// A newer input ends it wherever it waits, and nowhere in the middle of a write.
    pub(super) async fn phases(
        &self,
        mut newest: watch::Receiver<Arc<Work>>,
        begun: &Begun,
        cancel: &CancellationToken,
        applied: &watch::Sender<bool>,
    ) -> Result<End, ReconcileError> {
        let mut work = Arc::clone(&newest.borrow_and_update());
        if let Some(tag) = work.awaits().filter(|_| !begun.heals) {
            return self.await_and_heal(&mut newest, &work, begun, tag, cancel).await;
        }
        match cancel.run_until_cancelled(self.until_ready(&work, begun)).await {
            None => return Ok(End::Superseded),
            Some(ready) => {
                if let Some(end) = ready? {
                    return Ok(end);
                }
            }
        }
        loop {
            if let Some(failure) = self.apply(&work, begun).await? {
                return Ok(End::Failed(failure));
            }
            applied.send_replace(true);
            self.hint_at_drift(&work);
            tokio::select! {
                () = cancel.cancelled() => return Ok(End::Superseded),
                // what somebody changed or deleted meanwhile would be waited for in vain
                Ok(()) = newest.changed() => work = Arc::clone(&newest.borrow_and_update()),
                failure = self.wait_until_healthy(&work, begun) => match failure? {
                    Some(failure) => return Ok(End::Failed(failure)),
                    None => break,
                },
            }
        }
        if let Some(failure) = self.prune(&work, begun).await? {
            return Ok(End::Failed(failure));
        }
        Ok(End::Live)
    }

    /// Until its image is there; what runs meanwhile is put right where somebody changes it.
    pub(super) async fn await_and_heal(
        &self,
        newest: &mut watch::Receiver<Arc<Work>>,
        first: &Work,
        begun: &Begun,
        tag: &ImageRef,
        cancel: &CancellationToken,
    ) -> Result<End, ReconcileError> {
        let mut image = pin!(self.await_image(first, begun, tag));
        loop {
            let work = Arc::clone(&newest.borrow_and_update());
            if work.standing.is_some() && work.unit.changes() {
                // it is tried again when something moves; the image is waited for in any case
                if let Err(error) = self.heal(&work).await {
                    tracing::warn!(service = %work.name, error = %chain(&error), "What runs could not be put back as it was.");
                }
            }
            tokio::select! {
                () = cancel.cancelled() => return Ok(End::Superseded),
                Ok(()) = newest.changed() => {}
                end = &mut image => return end,
            }
        }
    }

    /// Until what it runs is there, and what it comes after is applied; or how it ended before.
    pub(super) async fn until_ready(
        &self,
        work: &Work,
        begun: &Begun,
    ) -> Result<Option<End>, ReconcileError> {
        if let Some(failure) = self.build(work, begun).await? {
            return Ok(Some(End::Failed(failure)));
        }
        for before in &work.unit.after {
            if let Ok(name) = before.parse() {
                self.0.rollouts.applied(&Self::state_key(&work.environment, &name)).await;
            }
        }
        Ok(None)
    }

    /// Builds the artifact, unless it is there; every line goes to the log of the deployment.
    pub(super) async fn build(&self, work: &Work, begun: &Begun) -> Result<Option<Failure>, ReconcileError> {
        let order = match &work.standing {
            // what failed needs no artifact, and what is good may need its own again
            Some(standing) => self.order_of(standing).map_err(|message| Failure {
                step: "Build",
                message,
                log: Vec::new(),
                platform: true,
            }),
            None => Ok(work.prepared.as_ref().and_then(|prepared| prepared.order.clone())),
        };
        let order = match order {
            Ok(order) => order,
            Err(failure) => return Ok(Some(failure)),
        };
        let (Some(builder), Some(order)) = (&self.0.parts.builder, order) else { return Ok(None) };
        self.step(begun, "Build", "building").await?;
        let (log, lines) = mpsc::channel(256);
        let order = crate::build::BuildOrder { log, ..order };
        let (built, ()) = tokio::join!(builder.build(order), self.keep_log(begun, "Build", lines));
        match built {
            Ok(built) => {
                let detail = if built.reused {
                    "it was built before"
                } else {
                    "built without an image: process runtime"
                };
                self.step_done(begun, "Build", Some(detail)).await?;
                Ok(None)
            }
            Err(error) => Ok(Some(Failure {
                step: "Build",
                message: chain(&error),
                log: error.tail().to_vec(),
                platform: !error.is_authors(),
            })),
        }
    }

    /// Keeps log lines in batches until their sender is gone.
    pub(super) async fn keep_log(&self, begun: &Begun, step: &str, mut lines: mpsc::Receiver<LogLine>) {
        let mut batch = Vec::new();
        while lines.recv_many(&mut batch, 256).await > 0 {
            let time = self.0.parts.clock.now();
            let lines = batch.drain(..).map(|line| crate::store::NewLine {
                stream: match line.stream {
                    Stream::Builder => "branchline",
                    Stream::Output => "stdout",
                    Stream::Error => "stderr",
                }
                .to_owned(),
                time,
                line: line.text,
            });
            if let Err(error) = self.0.parts.store.append_log(&begun.id, step, lines.collect()).await {
                tracing::warn!(deployment = %begun.id, error = %chain(&error), "Lines of a log could not be kept.");
            }
        }
    }
}
