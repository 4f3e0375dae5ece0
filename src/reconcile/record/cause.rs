//! How a deployment comes about: for which input, and because of which commit.

use uuid::Uuid;

use super::{artifact_of, repo_of};
use crate::reconcile::Reconciler;
use crate::reconcile::prepare::{Prepared, Wish};
use crate::reconcile::rollout::Work;
use crate::store::{DeploymentChange, DeploymentFilter, NewDeployment, StoreError};

/// Why a deployment comes about.
struct Cause {
    /// As a sentence.
    words: String,
    /// The commit whose change it is.
    reported_on: Option<(String, String)>,
    /// The commit that comes to the environment with it, where that is another one.
    brings: Option<(String, String)>,
}

impl Reconciler {
    /// The deployment of an input: one that an earlier process left unfinished, or a new one. Those of other inputs
    /// have come to their end.
    pub(super) async fn deployment_of(
        &self,
        work: &Work,
        wish: &Wish,
        state: &str,
    ) -> Result<String, StoreError> {
        let mut resumed = None;
        for deployment in self.unfinished(&Self::state_key(&work.environment, &work.name)).await? {
            if wish.is_of(&deployment) && resumed.is_none() {
                resumed = Some(deployment.id);
            } else {
                self.end(&deployment.id, "superseded", None).await?;
            }
        }
        match resumed {
            Some(id) => {
                let change = DeploymentChange { artifact: artifact_of(work), ..DeploymentChange::default() };
                self.store().update_deployment(&id, change).await?;
                Ok(id)
            }
            None => self.new_deployment(work, wish, state).await,
        }
    }

    /// Ends what an earlier process began for another input, whatever becomes of the service now.
    pub(in crate::reconcile) async fn abandon(&self, work: &Work) -> Result<(), StoreError> {
        let key = Self::state_key(&work.environment, &work.name);
        if !self.0.unfinished.lock().expect("no holder of this lock panics").remove(&key) {
            return Ok(());
        }
        let wish = work.prepared.as_deref().map(Prepared::wish);
        for deployment in self.unfinished(&Self::state_key(&work.environment, &work.name)).await? {
            if wish.as_ref().is_none_or(|wish| !wish.is_of(&deployment)) {
                self.end(&deployment.id, "superseded", None).await?;
            }
        }
        Ok(())
    }

    async fn new_deployment(&self, work: &Work, wish: &Wish, state: &str) -> Result<String, StoreError> {
        let revision = work.prepared.as_ref().and_then(|prepared| prepared.service.revision());
        let Cause { words, reported_on, brings } = self.cause(work, wish).await?;
        let made = self
            .store()
            .create_deployment(NewDeployment {
                id: Uuid::now_v7().to_string(),
                project: work.environment.project.to_string(),
                environment: work.environment.name.to_string(),
                service: work.name.to_string(),
                input_digest: wish.digest.to_string(),
                state: state.to_owned(),
                app_revision: revision.map(ToString::to_string),
                config_revision: work.config_revision.as_ref().map(ToString::to_string),
                artifact: artifact_of(work),
                cause: words,
                reported_on,
                brings,
                created: self.now(),
            })
            .await?;
        Ok(made.id)
    }
    /// Why a deployment comes about, and the commit whose change caused it: the one that the service is at now, where
    /// that is another than before; a preview's pull request; otherwise the config's. Where the config brings a commit
    /// of the app to an environment, as a pin or a new service does, that is news of both.
    async fn cause(&self, work: &Work, wish: &Wish) -> Result<Cause, StoreError> {
        let filter = DeploymentFilter {
            project: Some(work.environment.project.to_string()),
            environment: Some(work.environment.name.to_string()),
            service: Some(work.name.to_string()),
            limit: 1,
            ..DeploymentFilter::default()
        };
        let before = self.store().deployments(&filter).await?.pop();
        let before = before.filter(|before| before.state != "removed");
        if let Some(before) = &before
            && wish.is_of(before)
            && before.reported_on.is_some()
        {
            let words = "It is tried again".to_owned();
            return Ok(Cause { words, reported_on: before.reported_on.clone(), brings: None });
        }
        let config = &self.0.parts.config.url;
        let by_config =
            work.config_revision.as_ref().map(|revision| (config.key().to_owned(), revision.to_string()));
        let by_pull =
            work.environment.preview.as_ref().map(|pull| (pull.repository.clone(), pull.head.to_string()));
        let service = work.prepared.as_ref().map(|prepared| &prepared.service);
        let repo = service.and_then(|service| repo_of(service)).and_then(|repo| self.url_of(&repo));
        let at = repo
            .map(|repo| repo.key().to_owned())
            .zip(service.and_then(|service| service.revision().map(ToString::to_string)));
        let is_pinned = service.and_then(|service| service.run()).is_some_and(|run| run.release.is_some());
        let was_at = before.as_ref().map(|before| before.app_revision.as_deref());
        let is_elsewhere = at.as_ref().is_some_and(|(_, revision)| was_at != Some(Some(revision)));
        let words = match (&was_at, &at) {
            (None, _) => "It is new here".to_owned(),
            (_, Some((_, revision))) if is_elsewhere => format!("The service is at {} now", &revision[..7]),
            _ => "Its configuration changed".to_owned(),
        };
        let by_config = |brings| Cause { words: words.clone(), reported_on: by_config, brings };
        Ok(match (by_pull, at) {
            (Some(pull), _) if was_at.is_none() => Cause { words, reported_on: Some(pull), brings: None },
            (Some(pull), Some(at)) if is_elsewhere => {
                let reported_on = Some(if pull.0 == at.0 { pull } else { at });
                Cause { words, reported_on, brings: None }
            }
            (None, at) if was_at.is_none() || is_pinned => by_config(at.filter(|_| is_elsewhere)),
            (None, Some(at)) if is_elsewhere => Cause { words, reported_on: Some(at), brings: None },
            _ => by_config(None),
        })
    }
}
