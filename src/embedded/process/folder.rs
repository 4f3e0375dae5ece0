//! Image references that name folders: `folder:<key>`.

use std::path::{Component, Path, PathBuf};

use super::super::node::runtime::{ImageError, StartError};
use super::Folders;

const SCHEME: &str = "folder:";

/// The folder that an image reference names.
pub(super) fn find(folders: &Folders, image: &str) -> Result<PathBuf, ImageError> {
    let Some(key) = image.strip_prefix(SCHEME) else {
        return Err(ImageError::NeedsDocker { image: image.to_owned() });
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let folder =
        Some(key).filter(|key| !key.is_empty() && key.bytes().all(plain)).and_then(|key| folders(key));
    folder.filter(|folder| folder.is_dir()).ok_or_else(|| ImageError::Missing { image: image.to_owned() })
}

/// The working directory of a container; the root of the image is the folder itself.
pub(super) fn inside(folder: &Path, working_dir: Option<&str>) -> Result<PathBuf, StartError> {
    let Some(working_dir) = working_dir.filter(|path| !path.is_empty()) else {
        return Ok(folder.to_owned());
    };
    let outside = || StartError::WorkingDir { path: working_dir.to_owned() };
    let mut path = folder.to_owned();
    for part in Path::new(working_dir).components() {
        match part {
            Component::Normal(part) => path.push(part),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return Err(outside()),
        }
    }
    if path.is_dir() { Ok(path) } else { Err(outside()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_a_folder_or_needs_docker() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("abc/site")).unwrap();
        let base = root.path().to_owned();
        let folders: Folders = std::sync::Arc::new(move |key: &str| Some(base.join(key)));
        assert_eq!(find(&folders, "folder:abc").unwrap(), root.path().join("abc"));
        for missing in ["folder:", "folder:..", "folder:abc/site", "folder:other"] {
            assert_eq!(find(&folders, missing), Err(ImageError::Missing { image: missing.to_owned() }));
        }
        insta::assert_snapshot!(
            find(&folders, "nginx:1").unwrap_err(),
            @r#"image "nginx:1" needs the Docker runtime; hint: start with --runtime docker, or build the service from source"#
        );
    }

    #[test]
    fn a_working_directory_stays_in_the_folder() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("site")).unwrap();
        assert_eq!(inside(root.path(), None).unwrap(), root.path());
        assert_eq!(inside(root.path(), Some("/site")).unwrap(), root.path().join("site"));
        assert!(inside(root.path(), Some("site/../..")).is_err());
        assert!(inside(root.path(), Some("elsewhere")).is_err());
    }
}
