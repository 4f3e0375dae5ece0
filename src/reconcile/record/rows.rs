//! The current records of services as this process knows them. Only the reconciler writes them, so they are read from
//! the store once; after that every question about them is answered from memory.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use jiff::Timestamp;
use tokio::sync::OnceCell;

use super::ServiceState;
use crate::name::{EnvironmentName, ProjectName, Revision, ServiceName};
use crate::reconcile::Reconciler;
use crate::reconcile::rollout::Key;
use crate::store::{ServiceRow, Store, StoreError};

/// The record of a service: its row, and what the row holds as JSON.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::reconcile) struct Record {
    pub(in crate::reconcile) row: ServiceRow,
    pub(in crate::reconcile) detail: ServiceState,
}

/// All records, by project, environment and service.
#[derive(Default)]
pub(in crate::reconcile) struct Records {
    known: OnceCell<Mutex<Known>>,
    /// Another number after every change of a record.
    version: AtomicU64,
}

type Known = BTreeMap<Key, Arc<Entry>>;

/// The record of one service.
#[derive(Default)]
struct Entry {
    /// Whoever changes the record holds this until the store has it, so that the store and the memory say the same.
    turn: tokio::sync::Mutex<()>,
    record: Mutex<Option<Arc<Record>>>,
}

impl Entry {
    fn record(&self) -> MutexGuard<'_, Option<Arc<Record>>> {
        self.record.lock().expect("no holder of this lock panics")
    }
}

impl Records {
    async fn known(&self, store: &Store) -> Result<MutexGuard<'_, Known>, StoreError> {
        let known = self.known.get_or_try_init(|| async {
            let entries = store.services(None, None).await?.into_iter().filter_map(|row| {
                let key =
                    (row.project.parse().ok()?, row.environment.parse().ok()?, row.service.parse().ok()?);
                let detail = row.detail.clone().and_then(|json| serde_json::from_value(json).ok());
                let record = Record { detail: detail.unwrap_or_default(), row };
                Some((
                    key,
                    Arc::new(Entry { record: Mutex::new(Some(Arc::new(record))), ..Entry::default() }),
                ))
            });
            Ok::<_, StoreError>(Mutex::new(entries.collect()))
        });
        known.await?;
        Ok(self.now().expect("it was just read"))
    }

    /// What is known, once it was read.
    fn now(&self) -> Option<MutexGuard<'_, Known>> {
        self.known.get().map(|known| known.lock().expect("no holder of this lock panics"))
    }
}

impl Reconciler {
    /// Another number after every change of a record.
    pub(in crate::reconcile) fn records_version(&self) -> u64 {
        self.0.records.version.load(Ordering::SeqCst)
    }

    /// The record of a service.
    pub(in crate::reconcile) async fn record(&self, key: &Key) -> Result<Option<Arc<Record>>, StoreError> {
        let known = self.0.records.known(self.store()).await?;
        Ok(known.get(key).and_then(|entry| entry.record().clone()))
    }

    /// Reads the records, so that [`Reconciler::deployed`] can answer.
    pub(in crate::reconcile) async fn read_records(&self) -> Result<(), StoreError> {
        self.0.records.known(self.store()).await.map(drop)
    }

    /// The revision that a service runs now. Nothing is held between two questions: whoever asks may panic.
    pub(in crate::reconcile) fn deployed(
        &self,
        project: &ProjectName,
        environment: &EnvironmentName,
        service: &ServiceName,
    ) -> Option<Revision> {
        let key = (project.clone(), environment.clone(), service.clone());
        let entry = self.0.records.now()?.get(&key).cloned()?;
        entry.record().as_ref()?.detail.revision.as_ref()?.parse().ok()
    }

    /// The records of some services, in the order of the names.
    pub(in crate::reconcile) async fn records(
        &self,
        wanted: impl Fn(&Key) -> bool,
    ) -> Result<Vec<(Key, Arc<Record>)>, StoreError> {
        let known = self.0.records.known(self.store()).await?;
        let wanted = known.iter().filter(|(key, _)| wanted(key));
        Ok(wanted.filter_map(|(key, entry)| Some((key.clone(), entry.record().clone()?))).collect())
    }

    /// The records of one environment.
    pub(in crate::reconcile) async fn records_of(
        &self,
        project: &ProjectName,
        environment: &EnvironmentName,
    ) -> Result<BTreeMap<ServiceName, Arc<Record>>, StoreError> {
        let known = self.0.records.known(self.store()).await?;
        let mine = known.iter().filter(|(key, _)| (&key.0, &key.1) == (project, environment));
        Ok(mine.filter_map(|(key, entry)| Some((key.2.clone(), entry.record().clone()?))).collect())
    }

    /// Writes the record of a service where it differs from what stands there.
    pub(in crate::reconcile) async fn put_record(
        &self,
        key: &Key,
        change: impl FnOnce(&mut ServiceRow, &mut ServiceState),
    ) -> Result<(), StoreError> {
        let entry = {
            let mut known = self.0.records.known(self.store()).await?;
            Arc::clone(known.entry(key.clone()).or_default())
        };
        let _turn = entry.turn.lock().await;
        let old = entry.record().clone();
        let mut record = old.as_deref().cloned().unwrap_or_else(|| {
            let (project, environment, service) = key;
            let now = self.0.parts.clock.now();
            let row = unheard_of(project.as_str(), environment.as_str(), service.as_str(), now);
            Record { row, detail: ServiceState::default() }
        });
        change(&mut record.row, &mut record.detail);
        if old.is_some_and(|old| *old == record) {
            return Ok(());
        }
        record.row.detail = serde_json::to_value(&record.detail).ok();
        record.row.updated = self.0.parts.clock.now();
        self.store().put_service(record.row.clone()).await?;
        *entry.record() = Some(Arc::new(record));
        self.0.records.version.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// Removes the record of a service that is no more.
    pub(in crate::reconcile) async fn remove_record(&self, key: &Key) -> Result<(), StoreError> {
        let entry = self.0.records.known(self.store()).await?.get(key).cloned();
        let Some(entry) = entry else { return Ok(()) };
        let _turn = entry.turn.lock().await;
        self.store().remove_service(key.0.as_str(), key.1.as_str(), key.2.as_str()).await?;
        *entry.record() = None;
        self.0.records.version.fetch_add(1, Ordering::SeqCst);
        let mut known = self.0.records.known(self.store()).await?;
        // the map and this function hold it, and nobody waits for a turn
        if Arc::strong_count(&entry) == 2 {
            known.remove(key);
        }
        Ok(())
    }
}

/// The record of a service that nothing has been written down about.
#[must_use]
pub(crate) fn unheard_of(project: &str, environment: &str, service: &str, now: Timestamp) -> ServiceRow {
    ServiceRow {
        project: project.to_owned(),
        environment: environment.to_owned(),
        service: service.to_owned(),
        state: "pending".to_owned(),
        message: "It has not been deployed yet".to_owned(),
        live_deployment: None,
        detail: None,
        updated: now,
    }
}
