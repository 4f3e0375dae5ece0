//! The kinds that the API serves, asked once, for those who act on objects of any kind.

use std::collections::BTreeMap;

use kube::api::{ApiResource, DynamicObject};
use kube::discovery::{Discovery, Scope, verbs};
use kube::{Api, Client};

/// Every kind that can be listed, watched and deleted.
pub(crate) struct Catalog {
    kinds: BTreeMap<(String, String), Served>,
}

/// One kind as the API serves it.
#[derive(Debug, Clone)]
pub(crate) struct Served {
    pub(crate) resource: ApiResource,
    pub(crate) namespaced: bool,
}

impl Served {
    /// The API of this kind in `namespace`.
    pub(crate) fn api(&self, client: Client, namespace: &str) -> Api<DynamicObject> {
        if self.namespaced {
            Api::namespaced_with(client, namespace, &self.resource)
        } else {
            Api::all_with(client, &self.resource)
        }
    }
}

impl Catalog {
    /// Asks the server what it serves.
    pub(crate) async fn read(client: &Client) -> Result<Self, kube::Error> {
        let discovery = Discovery::new(client.clone()).run().await?;
        let mut kinds = BTreeMap::new();
        for (resource, capabilities) in
            discovery.groups().flat_map(kube::discovery::ApiGroup::recommended_resources)
        {
            let able = [verbs::LIST, verbs::WATCH, verbs::DELETE]
                .iter()
                .all(|verb| capabilities.supports_operation(verb));
            if able {
                let namespaced = capabilities.scope == Scope::Namespaced;
                kinds
                    .insert((resource.group.clone(), resource.kind.clone()), Served { resource, namespaced });
            }
        }
        Ok(Self { kinds })
    }

    /// All kinds.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Served> {
        self.kinds.values()
    }

    /// The kind that an owner reference names; its version may be any that is served.
    pub(crate) fn find(&self, api_version: &str, kind: &str) -> Option<&Served> {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        self.kinds.get(&(group.to_owned(), kind.to_owned()))
    }
}
