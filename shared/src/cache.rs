//! What a process remembers, bounded; and how its locks are taken.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use crate::domain::time::plus_seconds;

/// Takes a lock. What it guards is whole at every moment, so a panic elsewhere does not spoil it.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Values by key, up to a total weight; what does not fit beside the others empties it first. Clones share it.
pub struct Cache<K, V> {
    held: Arc<Mutex<Held<K, V>>>,
    weight_max: usize,
}

struct Held<K, V> {
    values: HashMap<K, (usize, V)>,
    weight: usize,
}

/// A value and when it was read.
#[derive(Clone, Debug)]
pub struct Dated<V> {
    /// When it was read.
    pub read_at: Timestamp,
    /// The value.
    pub value: V,
}

impl<K, V> Clone for Cache<K, V> {
    fn clone(&self) -> Self {
        Self { held: Arc::clone(&self.held), weight_max: self.weight_max }
    }
}

impl<K, V> fmt::Debug for Cache<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("weight_max", &self.weight_max).finish_non_exhaustive()
    }
}

impl<K: Eq + Hash, V: Clone> Cache<K, V> {
    /// An empty cache: of so many values, where each is put without a weight.
    #[must_use]
    pub fn new(weight_max: usize) -> Self {
        let held = Held { values: HashMap::new(), weight: 0 };
        Self { held: Arc::new(Mutex::new(held)), weight_max }
    }

    /// The value under a key.
    pub fn get(&self, key: &K) -> Option<V> {
        lock(&self.held).values.get(key).map(|(_, value)| value.clone())
    }

    /// Remembers a value, of weight 1.
    pub fn put(&self, key: K, value: V) {
        self.put_weighing(key, value, 1);
    }

    /// Remembers a value of this weight.
    pub fn put_weighing(&self, key: K, value: V, weight: usize) {
        let mut held = lock(&self.held);
        held.remove(&key);
        if held.weight + weight > self.weight_max {
            held.values.clear();
            held.weight = 0;
        }
        held.weight += weight;
        held.values.insert(key, (weight, value));
    }

    /// Forgets the value under a key.
    pub fn forget(&self, key: &K) {
        lock(&self.held).remove(key);
    }
}

impl<K: Eq + Hash, V> Held<K, V> {
    fn remove(&mut self, key: &K) {
        self.weight -= self.values.remove(key).map_or(0, |(weight, _)| weight);
    }
}

impl<K: Eq + Hash, V: Clone> Cache<K, Dated<V>> {
    /// The value under a key, if it was read less than `seconds` ago.
    pub fn fresh(&self, key: &K, now: Timestamp, seconds: i64) -> Option<V> {
        let dated = self.get(key)?;
        (now < plus_seconds(dated.read_at, seconds)).then_some(dated.value)
    }

    /// Remembers a value that was read now.
    pub fn put_now(&self, key: K, value: V, now: Timestamp) {
        self.put(key, Dated { read_at: now, value });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_holds_up_to_its_weight_and_begins_anew_with_one_more() {
        let cache = Cache::new(3);
        cache.put("a", 1);
        cache.put_weighing("b", 2, 2);
        assert_eq!((cache.get(&"a"), cache.get(&"b")), (Some(1), Some(2)));
        // In the place of the one before, it fits.
        cache.put_weighing("b", 3, 2);
        assert_eq!((cache.get(&"a"), cache.get(&"b")), (Some(1), Some(3)));
        cache.put("c", 4);
        assert_eq!((cache.get(&"a"), cache.get(&"b"), cache.get(&"c")), (None, None, Some(4)));
        cache.forget(&"c");
        assert_eq!(cache.get(&"c"), None);
    }

    #[test]
    fn dated_value_counts_for_a_while() {
        let cache = Cache::new(1);
        let at = |second| Timestamp::from_second(second).unwrap();
        cache.put_now((), "x", at(100));
        assert_eq!(cache.fresh(&(), at(104), 5), Some("x"));
        assert_eq!(cache.fresh(&(), at(105), 5), None);
    }
}
