//! Bare mirrors of Git repositories: fetch, resolve, read blobs, commit a file. The only user of git2 and notify.
