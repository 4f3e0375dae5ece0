//! Artifacts that nothing runs any more are removed, so that the disk does not fill up.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{ReconcileError, Reconciler, chain};
use crate::build::BuildKey;

const HOUR: Duration = Duration::from_hours(1);
/// How long an artifact is kept after it was last asked for: a rollback within that time needs no build.
const KEPT: Duration = Duration::from_hours(7 * 24);
/// What names an artifact in the objects of the embedded cluster.
const FOLDER: &str = "folder:";
/// The kinds whose pods run artifacts, and the pods.
const RUNS: [(&str, &str); 5] = [
    ("apps/v1", "Deployment"),
    ("apps/v1", "ReplicaSet"),
    ("batch/v1", "CronJob"),
    ("batch/v1", "Job"),
    ("v1", "Pod"),
];

impl Reconciler {
    /// Removes what nothing runs, once an hour when all is at rest, until the reconciler stops.
    pub(super) async fn collect_until_stopped(&self) {
        let mut snapshot = self.snapshot();
        let at_rest = async {
            // the sender lives in `self`, so waiting cannot fail
            let _ = snapshot.wait_for(|snapshot| snapshot.at.is_some()).await;
            loop {
                self.idle().await;
                match self.collect().await {
                    Ok(removed) if removed.is_empty() => {}
                    Ok(removed) => {
                        tracing::info!(
                            artifacts = removed.len(),
                            "Artifacts that nothing runs were removed."
                        );
                    }
                    Err(error) => {
                        tracing::warn!(error = %chain(&error), "Artifacts that nothing runs could not be removed.");
                    }
                }
                self.0.parts.clock.sleep(HOUR).await;
            }
        };
        self.0.stop.run_until_cancelled(at_rest).await;
    }

    /// Removes the artifacts that nothing runs or would be put back as, and that are old, and names them.
    ///
    /// # Errors
    /// When it cannot be read what runs, or an artifact cannot be removed.
    pub async fn collect(&self) -> Result<Vec<BuildKey>, ReconcileError> {
        let Some(builder) = &self.0.parts.builder else { return Ok(Vec::new()) };
        let before = self.0.parts.clock.now() - KEPT;
        let mut in_use = BTreeSet::new();
        for good in self.last_good_states().await? {
            in_use.extend(named(&String::from_utf8_lossy(&good)));
        }
        if let Some(cluster) = self.0.parts.clusters.get("embedded") {
            for (api_version, kind) in RUNS {
                let objects = cluster.all_of(api_version, kind).await?;
                in_use.extend(objects.iter().flat_map(|object| named(&object.to_string())));
            }
        }
        Ok(builder.collect(&in_use, before).await?)
    }
}

/// The artifacts that a text names.
fn named(text: &str) -> Vec<BuildKey> {
    let key = |rest: &str| rest.get(..64)?.parse().ok();
    text.split(FOLDER).skip(1).filter_map(key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_wherever_they_stand() {
        let (one, other) = ("a1".repeat(32), "0f".repeat(32));
        let text = format!(r#"{{"image":"folder:{one}","also":["folder:{other}","folder:short"]}}"#);
        assert_eq!(named(&text), [one.parse().unwrap(), other.parse().unwrap()]);
    }
}
