//! What had nothing to do, and what that was decided by: as long as it is the same, there is nothing to do again.
//!
//! It saves work and decides nothing: an attempt that is not skipped comes to the same end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use super::clusters::Handle;
use super::prepare::Prepared;
use super::record::Record;
use super::{Reconciler, Snapshot};
use crate::config::Document;
use crate::config::root::ConfigSpec;
use crate::desired::Environment;
use crate::name::ServiceName;
use crate::render::TemplateSet;

/// Everything that an attempt decides by, but for drift.
#[derive(Clone)]
pub(super) struct Circumstances {
    environment: Arc<Environment>,
    templates: Option<Arc<TemplateSet>>,
    config: Option<Arc<Document<ConfigSpec>>>,
    inventory: u64,
    records: u64,
    images: u64,
}

impl PartialEq for Circumstances {
    fn eq(&self, other: &Self) -> bool {
        let versions = |of: &Self| (of.inventory, of.records, of.images);
        // what did not change is the very same
        Arc::ptr_eq(&self.environment, &other.environment)
            && same(self.templates.as_ref(), other.templates.as_ref())
            && same(self.config.as_ref(), other.config.as_ref())
            && versions(self) == versions(other)
    }
}

fn same<T>(one: Option<&Arc<T>>, other: Option<&Arc<T>>) -> bool {
    one.map(Arc::as_ptr) == other.map(Arc::as_ptr)
}

/// What had nothing to do in an environment the last time.
#[derive(Default)]
pub(super) struct Quiet {
    whole: Mutex<Option<Circumstances>>,
    services: Mutex<BTreeMap<ServiceName, Rest>>,
}

/// A service with nothing to do, and what that was decided by.
struct Rest {
    prepared: Arc<Prepared>,
    record: Arc<Record>,
}

impl Quiet {
    fn whole(&self) -> MutexGuard<'_, Option<Circumstances>> {
        self.whole.lock().expect("no holder of this lock panics")
    }

    fn services(&self) -> MutexGuard<'_, BTreeMap<ServiceName, Rest>> {
        self.services.lock().expect("no holder of this lock panics")
    }

    /// Notes whether an attempt of all of it had nothing to do.
    pub(super) fn note(&self, quiet: Option<Circumstances>) {
        *self.whole() = quiet;
    }

    /// Whether a service had nothing to do when it was prepared the same and its record said the same.
    pub(super) fn rests(
        &self,
        name: &ServiceName,
        prepared: &Arc<Prepared>,
        record: Option<&Arc<Record>>,
    ) -> bool {
        let services = self.services();
        let rest = services.get(name).zip(record);
        rest.is_some_and(|(rest, record)| {
            Arc::ptr_eq(&rest.prepared, prepared) && Arc::ptr_eq(&rest.record, record)
        })
    }

    /// Notes that a service has nothing to do.
    pub(super) fn rest(&self, name: &ServiceName, prepared: &Arc<Prepared>, record: Arc<Record>) {
        self.services().insert(name.clone(), Rest { prepared: Arc::clone(prepared), record });
    }

    /// Notes that a service has something to do, or is no more.
    pub(super) fn wake(&self, name: &ServiceName) {
        self.services().remove(name);
    }
}

impl Reconciler {
    /// By what an attempt would decide now.
    pub(super) fn circumstances(
        &self,
        snapshot: &Snapshot,
        environment: &Arc<Environment>,
        handle: &Handle,
    ) -> Circumstances {
        Circumstances {
            environment: Arc::clone(environment),
            templates: snapshot.templates.clone(),
            config: snapshot.config.config.clone(),
            inventory: handle.set.version(),
            records: self.records_version(),
            images: self.0.images.version(),
        }
    }
}

impl Handle {
    /// Whether the last attempt under these circumstances had nothing to do, and nobody changed anything since.
    pub(super) fn is_quiet(&self, now: &Circumstances) -> bool {
        let nothing_to_do = self.quiet.whole().as_ref().is_some_and(|quiet| quiet == now);
        nothing_to_do && self.watches.drifted(self.set.namespace().as_str()).is_empty()
    }
}
