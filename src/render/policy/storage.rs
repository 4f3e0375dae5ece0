//! Claims: storage is asked for by size and class, never by naming somebody else's.

use serde_json::Value;

use super::Checker;

impl Checker<'_> {
    /// Checks the spec of a claim, wherever it stands.
    pub(super) fn claim(&mut self, spec: &Value, at: &str) {
        self.refuse_set(spec, at, "volumeName", "ask for a size and a class, not for a certain volume");
        for source in ["dataSource", "dataSourceRef"] {
            if spec[source]["namespace"].is_string() {
                let field = format!("{at}.{source}.namespace");
                self.refuse(&field, "is not allowed", "a claim is filled from its own namespace");
            }
        }
    }
}
