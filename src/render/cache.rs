//! Remembers what was rendered: the same template with the same values makes the same objects.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use super::manifest::Manifest;
use super::problem::RenderError;
use super::template::TemplateSet;
use crate::hash::{ContentHash, Hasher};

/// A template's id and the hash of the values.
type Key = (ContentHash, ContentHash);
type Generation = HashMap<Key, Arc<Vec<Manifest>>>;

/// A bounded memory of renderings. Errors are not remembered.
///
/// It holds two generations of at most `capacity` entries. What is asked for moves to the young one; when that is
/// full, the old one is dropped, so entries that nobody asks for any more go without any bookkeeping per use.
#[derive(Debug)]
pub struct RenderCache {
    capacity: usize,
    generations: Mutex<(Generation, Generation)>,
}

impl RenderCache {
    /// An empty memory for `capacity` renderings in use.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), generations: Mutex::default() }
    }

    /// Renders, or gives what was rendered before.
    ///
    /// # Errors
    /// As [`super::render()`].
    pub fn render(
        &self,
        set: &TemplateSet,
        template: &str,
        values: &Value,
    ) -> Result<Arc<Vec<Manifest>>, Vec<RenderError>> {
        let key = (set.get(template)?.id(), Hasher::new("template values").json(values).finish());
        if let Some(known) = self.recall(&key) {
            return Ok(known);
        }
        let made = Arc::new(super::render(set, template, values)?);
        self.remember(key, Arc::clone(&made));
        Ok(made)
    }

    fn recall(&self, key: &Key) -> Option<Arc<Vec<Manifest>>> {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let (young, old) = &mut *generations;
        if let Some(known) = young.get(key) {
            return Some(Arc::clone(known));
        }
        let known = old.remove(key)?;
        young.insert(*key, Arc::clone(&known));
        Some(known)
    }

    fn remember(&self, key: Key, made: Arc<Vec<Manifest>>) {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let (young, old) = &mut *generations;
        if young.len() >= self.capacity {
            *old = mem::take(young);
        }
        young.insert(key, made);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn values(namespace: usize) -> Value {
        json!({"project": {"name": "shop"}, "environment": {"name": "staging"}, "namespace": format!("shop-{namespace}")})
    }

    #[test]
    fn the_same_values_are_rendered_once_while_they_are_in_use() {
        let (cache, set) = (RenderCache::new(2), TemplateSet::builtin());
        let render = |n| cache.render(set, "namespace", &values(n)).expect("renders");
        let first = render(1);
        assert!(Arc::ptr_eq(&first, &render(1)));
        render(2);
        render(3);
        assert!(Arc::ptr_eq(&first, &render(1)), "still held by the old generation, and young again");
        for n in 4..8 {
            render(n);
        }
        assert!(!Arc::ptr_eq(&first, &render(1)), "nobody asked for it for two generations");
        assert_eq!(first, render(1), "made anew, it is the same");
    }

    #[test]
    fn the_order_of_the_values_makes_no_difference() {
        let cache = RenderCache::new(8);
        let turned =
            json!({"namespace": "shop-1", "environment": {"name": "staging"}, "project": {"name": "shop"}});
        let one = cache.render(TemplateSet::builtin(), "namespace", &values(1)).expect("renders");
        let two = cache.render(TemplateSet::builtin(), "namespace", &turned).expect("renders");
        assert!(Arc::ptr_eq(&one, &two));
    }
}
