//! Strict Handlebars templates → parsed, checked manifests.
