//! Keeps what the embedded cluster must not lose in the store, sealed with a key file of this machine.

use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::{StateError, StateStore};
use crate::store::Store;

/// The space of the store that it is kept in.
const SPACE: &str = "embedded";

/// Objects in the store, sealed by AES-256-GCM; the key of an object is bound to its bytes.
pub struct Sealed {
    store: Store,
    key: RandomizedNonceKey,
}

impl Sealed {
    /// Uses the key in the file at `path`, and makes it (mode 0600) where there is none.
    ///
    /// # Errors
    /// When the file cannot be read or made, or holds no key.
    pub fn open(store: Store, path: &Path) -> Result<Self, StateError> {
        let failed =
            |error: &dyn std::fmt::Display| StateError(format!("the key file {}: {error}", path.display()));
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let mut bytes = [0; 32];
                aws_lc_rs::rand::fill(&mut bytes).map_err(|error| failed(&error))?;
                make(path, &bytes).map_err(|error| failed(&error))?;
                bytes.to_vec()
            }
            Err(error) => return Err(failed(&error)),
        };
        let key = RandomizedNonceKey::new(&AES_256_GCM, &bytes)
            .map_err(|_| failed(&"it does not hold 32 bytes"))?;
        Ok(Self { store, key })
    }

    fn seal(&self, key: &str, mut bytes: Vec<u8>) -> Result<Vec<u8>, StateError> {
        let nonce = self
            .key
            .seal_in_place_append_tag(Aad::from(key.as_bytes()), &mut bytes)
            .map_err(|_| StateError(format!("{key} could not be sealed")))?;
        Ok([nonce.as_ref().as_slice(), &bytes].concat())
    }

    fn unseal(&self, key: &str, bytes: &[u8]) -> Result<Vec<u8>, StateError> {
        let broken = || StateError(format!("{key} cannot be unsealed: it was sealed with another key file"));
        let (nonce, sealed) = bytes.split_at_checked(NONCE_LEN).ok_or_else(broken)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| broken())?;
        let mut sealed = sealed.to_vec();
        let plain =
            self.key.open_in_place(nonce, Aad::from(key.as_bytes()), &mut sealed).map_err(|_| broken())?;
        Ok(plain.to_vec())
    }
}

/// Writes the key beside its place and renames it, so that a kill leaves a whole key or none.
fn make(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let new = path.with_extension("new");
    // what an earlier process left behind
    let _ = std::fs::remove_file(&new);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, path)
}

impl StateStore for Sealed {
    fn load_all(&self) -> BoxFuture<'_, Result<Vec<(String, Vec<u8>)>, StateError>> {
        async {
            let rows = self.store.list(SPACE).await.map_err(|error| StateError(error.to_string()))?;
            rows.into_iter().map(|(key, bytes)| Ok((key.clone(), self.unseal(&key, &bytes)?))).collect()
        }
        .boxed()
    }

    fn put(&self, key: String, bytes: Vec<u8>) -> BoxFuture<'_, Result<(), StateError>> {
        async move {
            let sealed = self.seal(&key, bytes)?;
            self.store.put(SPACE, &key, &sealed).await.map_err(|error| StateError(error.to_string()))
        }
        .boxed()
    }

    fn delete(&self, key: String) -> BoxFuture<'_, Result<(), StateError>> {
        async move {
            self.store.remove(SPACE, &key).await.map(|_| ()).map_err(|error| StateError(error.to_string()))
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreOptions;

    #[tokio::test]
    async fn what_is_kept_is_sealed_and_comes_back() {
        let dir = tempfile::tempdir().expect("a folder");
        let store =
            Store::open(&dir.path().join("store.db"), &StoreOptions::default()).await.expect("a store");
        let sealed = Sealed::open(store.clone(), &dir.path().join("key")).expect("a key");
        sealed.put("Secret/a/b".to_owned(), b"hunter2".to_vec()).await.expect("kept");
        let raw = store.get(SPACE, "Secret/a/b").await.expect("read").expect("there");
        assert!(!raw.windows(7).any(|part| part == b"hunter2"));
        let again = Sealed::open(store.clone(), &dir.path().join("key")).expect("the same key");
        assert_eq!(again.load_all().await.expect("read"), [("Secret/a/b".to_owned(), b"hunter2".to_vec())]);
        let other = Sealed::open(store, &dir.path().join("other")).expect("another key");
        assert!(other.load_all().await.is_err());
    }
}
