//! Where environments are, kept in the store: what left the configuration, or has another namespace now, is found
//! where it was.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tokio::sync::{MappedMutexGuard, MutexGuard};

use super::{Reconciler, Snapshot};
use crate::config::root::ClusterType;
use crate::desired::{Environment, Runtime};
use crate::name::{EnvironmentName, Namespace, ProjectName};
use crate::store::StoreError;

const SPACE: &str = "places";
const EMBEDDED: &str = "embedded";

/// A namespace of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Place {
    /// As this server reaches it: two names in a configuration may be one cluster.
    pub(super) cluster: String,
    pub(super) namespace: Namespace,
}

impl Place {
    /// Names have no slash.
    pub(super) fn key(&self, project: &ProjectName, environment: &EnvironmentName) -> String {
        format!("{project}/{environment}/{}/{}", self.cluster, self.namespace)
    }

    fn parse(key: &str) -> Option<(ProjectName, EnvironmentName, Self)> {
        let mut parts = key.split('/');
        let mut next = || parts.next();
        let (project, environment) = (next()?.parse().ok()?, next()?.parse().ok()?);
        let (cluster, namespace) = (next()?.to_owned(), next()?.parse().ok()?);
        Some((project, environment, Self { cluster, namespace }))
    }
}

/// Places of environments.
pub(super) type Places = BTreeMap<(ProjectName, EnvironmentName), BTreeSet<Place>>;

impl Reconciler {
    /// The name by which this server reaches a cluster.
    pub(super) fn reached_as<'a>(&self, (name, kind): &'a (String, ClusterType)) -> &'a str {
        match kind {
            ClusterType::Embedded => EMBEDDED,
            _ if self.0.parts.clusters.contains_key(name) => name,
            _ => "kubeconfig",
        }
    }

    pub(super) fn place(&self, environment: &Environment) -> Place {
        let cluster = self.reached_as(&environment.cluster).to_owned();
        Place { cluster, namespace: environment.namespace.clone() }
    }

    /// The key of an environment at its place.
    pub(super) fn place_key(&self, environment: &Environment) -> String {
        self.place(environment).key(&environment.project, &environment.name)
    }

    /// The keys of all places, read from the store once: every look asks for them.
    async fn placed(&self) -> Result<MappedMutexGuard<'_, BTreeSet<String>>, StoreError> {
        let mut placed = self.0.placed.lock().await;
        if placed.is_none() {
            let rows = self.store().list(SPACE).await?;
            *placed = Some(rows.into_iter().map(|(key, _)| key).collect());
        }
        Ok(MutexGuard::map(placed, Option::get_or_insert_default))
    }

    /// Remembers where an environment is, before anything of it is there.
    pub(super) async fn remember_place(&self, environment: &Environment) -> Result<(), StoreError> {
        let key = self.place_key(environment);
        let mut placed = self.placed().await?;
        if !placed.contains(&key) {
            self.store().put(SPACE, &key, b"").await?;
            placed.insert(key);
        }
        Ok(())
    }

    /// Forgets it, once nothing of the environment is there any more.
    pub(super) async fn forget_place(
        &self,
        project: &ProjectName,
        environment: &EnvironmentName,
        place: &Place,
    ) -> Result<(), StoreError> {
        let key = place.key(project, environment);
        self.release(&key).await?;
        let mut placed = self.placed().await?;
        self.store().remove(SPACE, &key).await?;
        placed.remove(&key);
        Ok(())
    }

    /// Others that were where an environment is now.
    async fn owners_before(
        &self,
        environment: &Environment,
    ) -> Result<Vec<(ProjectName, EnvironmentName)>, StoreError> {
        let here = self.place(environment);
        let own = (&environment.project, &environment.name);
        let mut places = self.places().await?;
        places.retain(|(project, name), places| (project, name) != own && places.contains(&here));
        Ok(places.into_keys().collect())
    }

    /// Who was where an environment is now, in words.
    pub(super) async fn owner_before(&self, environment: &Environment) -> Result<Option<String>, StoreError> {
        let owners = self.owners_before(environment).await?;
        let names: Vec<_> = owners.iter().map(|(project, name)| format!("{project}/{name}")).collect();
        Ok((!names.is_empty()).then(|| names.join(" and ")))
    }

    /// Nothing is left of whoever was where an environment is now.
    pub(super) async fn forget_owners_before(&self, environment: &Environment) -> Result<(), StoreError> {
        let here = self.place(environment);
        for (project, name) in self.owners_before(environment).await? {
            self.forget_place(&project, &name, &here).await?;
        }
        Ok(())
    }

    /// Everywhere that environments are or were.
    pub(super) async fn places(&self) -> Result<Places, StoreError> {
        let mut places = Places::new();
        for (project, environment, place) in self.placed().await?.iter().filter_map(|key| Place::parse(key)) {
            places.entry((project, environment)).or_default().insert(place);
        }
        Ok(places)
    }

    /// The places that environments should be at.
    pub(super) fn taken(&self, snapshot: &Snapshot) -> BTreeSet<Place> {
        snapshot.environments.iter().map(|environment| self.place(environment)).collect()
    }

    /// An environment where it should no longer be.
    pub(super) fn left_at(&self, former: Environment, place: &Place) -> Environment {
        let embedded = place.cluster == EMBEDDED;
        let kind = if embedded { ClusterType::Embedded } else { ClusterType::Kubeconfig };
        Environment {
            namespace: place.namespace.clone(),
            cluster: (place.cluster.clone(), kind),
            runtime: if embedded { self.0.parts.embedded } else { Runtime::Cluster },
            ..former
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_its_place() {
        let place = Place { cluster: "prod".to_owned(), namespace: "shop-live".parse().unwrap() };
        let (project, environment) = ("shop".parse().unwrap(), "production".parse().unwrap());
        let key = place.key(&project, &environment);
        assert_eq!(Place::parse(&key), Some((project, environment, place)));
        assert_eq!(Place::parse("shop/production"), None);
    }
}
