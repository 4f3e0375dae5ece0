//! Secrets that the server makes for itself and keeps in files of its data folder.

use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;

use crate::secret::Secret;

const BYTES: usize = 32;
const OWNER_ALONE: u32 = 0o600;

/// Why a secret of ours cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read or made.
    #[error("the secret file {} cannot be used\nhint: the data folder must be writable by this user", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes for {}", path.display())]
    Random {
        /// The file.
        path: PathBuf,
    },
}

/// The secret in the file at `path`; where there is none, a new one: `prefix` and 64 hexadecimal digits. The
/// file is for its owner alone. This blocks: it is called at start.
///
/// # Errors
/// The file cannot be read or made.
pub fn secret_file(path: &Path, prefix: &str) -> Result<Secret<String>, TokenError> {
    let failed = |source| TokenError::File { path: path.to_owned(), source };
    match std::fs::read_to_string(path) {
        Ok(text) if !text.trim().is_empty() => {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(OWNER_ALONE)).map_err(failed)?;
            return Ok(Secret::new(text.trim().to_owned()));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let mut random = [0; BYTES];
    rand::fill(&mut random).map_err(|_| TokenError::Random { path: path.to_owned() })?;
    let secret = format!("{prefix}{}", hex::encode(random));
    write(path, &secret).map_err(failed)?;
    Ok(Secret::new(secret))
}

/// Writes beside the file and renames, so that a kill leaves the whole secret or none.
fn write(path: &Path, secret: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let beside = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(OWNER_ALONE).open(&beside)?;
    writeln!(file, "{secret}")?;
    file.sync_all()?;
    std::fs::rename(beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_made_once_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/token");
        let made = secret_file(&path, "bl_").unwrap();
        assert!(made.expose().starts_with("bl_") && made.expose().len() == 3 + 64);
        assert!(secret_file(&path, "bl_").unwrap() == made);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        std::fs::write(&path, "given by hand\n").unwrap();
        assert_eq!(secret_file(&path, "bl_").unwrap().expose(), "given by hand");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
