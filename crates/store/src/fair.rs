//! What waits, by whose it is: those who have something waiting take turns.
//!
//! Invariants: what one key put in comes out in that order; between two of one key, every other key that has something
//! waiting, and that the caller takes from, comes once. So one that puts in a hundred times as much waits for itself.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    time::{Duration, Instant},
};

/// How long a queue that several used counts as shared: whoever comes next finds it in short turns already.
const SHARED_FOR: Duration = Duration::from_secs(1);

/// A queue in which keys take turns.
#[derive(Debug)]
pub struct FairQueue<K, T> {
    /// Each key that has something waiting, once; the first one is next.
    turns: VecDeque<K>,
    items: HashMap<K, VecDeque<T>>,
    len: usize,
    last: Option<K>,
    shared: Option<Instant>,
}

impl<K, T> Default for FairQueue<K, T> {
    fn default() -> FairQueue<K, T> {
        FairQueue { turns: VecDeque::new(), items: HashMap::new(), len: 0, last: None, shared: None }
    }
}

impl<K: Copy + Eq + Hash, T> FairQueue<K, T> {
    /// Adds something at the end of that key's.
    pub fn push(&mut self, key: K, item: T) {
        if self.last.is_some_and(|last| last != key) {
            self.shared = Some(Instant::now());
        }
        self.last = Some(key);
        let items = self.items.entry(key).or_default();
        if items.is_empty() {
            self.turns.push_back(key);
        }
        items.push_back(item);
        self.len += 1;
    }

    /// What is next, without taking it.
    pub fn peek(&self) -> Option<&T> {
        self.items.get(self.turns.front()?)?.front()
    }

    /// Takes what is next: the oldest of the key whose turn it is.
    pub fn pop(&mut self) -> Option<T> {
        self.pop_where(|_| true)
    }

    /// Takes what is next of the keys that `may` have a turn; the others keep theirs.
    pub fn pop_where(&mut self, may: impl Fn(&K) -> bool) -> Option<T> {
        let at = self.turns.iter().position(may)?;
        let key = self.turns.remove(at)?;
        let items = self.items.get_mut(&key)?;
        let item = items.pop_front()?;
        self.len -= 1;
        match items.is_empty() {
            true => drop(self.items.remove(&key)),
            false => self.turns.push_back(key),
        }
        Some(item)
    }

    /// Throws away what is first of that key's, as long as it is `stale`.
    pub fn purge(&mut self, key: &K, stale: impl Fn(&T) -> bool) {
        let Some(items) = self.items.get_mut(key) else { return };
        while items.front().is_some_and(&stale) {
            items.pop_front();
            self.len -= 1;
        }
        if items.is_empty() {
            self.items.remove(key);
            self.turns.retain(|turn| turn != key);
        }
    }

    /// How many things wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// How many of that key.
    pub fn len_of(&self, key: &K) -> usize {
        self.items.get(key).map_or(0, VecDeque::len)
    }

    /// How many keys have something waiting.
    pub fn keys(&self) -> usize {
        self.turns.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether more than one key used it within the last second. Who serves a shared queue serves it in short turns,
    /// so that nobody waits for a long one of somebody else.
    pub fn is_shared(&self) -> bool {
        self.turns.len() > 1 || self.shared.is_some_and(|since| since.elapsed() < SHARED_FOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(items: &str) -> FairQueue<char, String> {
        let mut queue = FairQueue::default();
        for item in items.split_whitespace() {
            queue.push(item.chars().next().unwrap(), item.to_owned());
        }
        queue
    }

    fn drain(mut queue: FairQueue<char, String>, may: impl Fn(&char) -> bool) -> String {
        std::iter::from_fn(|| queue.pop_where(&may)).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn keys_take_turns_and_each_keeps_its_order() {
        for (pushed, popped) in [
            ("", ""),
            ("a1 a2 a3", "a1 a2 a3"),
            ("a1 a2 a3 b1", "a1 b1 a2 a3"),
            ("a1 a2 a3 b1 b2 c1", "a1 b1 c1 a2 b2 a3"),
            ("b1 a1 b2 a2", "b1 a1 b2 a2"),
        ] {
            assert_eq!(drain(queue(pushed), |_| true), popped, "{pushed}");
        }
    }

    #[test]
    fn who_may_not_go_keeps_its_turn() {
        let mut queue = queue("a1 a2 b1 b2");
        assert_eq!(queue.pop_where(|key| *key == 'b').unwrap(), "b1");
        assert_eq!((queue.len(), queue.len_of(&'a'), queue.keys()), (3, 2, 2));
        assert_eq!(drain(queue, |_| true), "a1 b2 a2");
    }

    #[test]
    fn whoever_comes_again_is_behind_those_who_wait() {
        let mut queue = queue("a1 b1");
        assert_eq!(queue.pop().unwrap(), "a1");
        queue.push('a', "a2".to_owned());
        queue.push('c', "c1".to_owned());
        assert_eq!(queue.peek().unwrap(), "b1");
        assert_eq!(drain(queue, |_| true), "b1 a2 c1");
    }

    #[test]
    fn what_is_stale_goes_without_a_turn() {
        let mut queue = queue("a1 a2 a3 b1");
        queue.purge(&'a', |item| item < &"a3".to_owned());
        assert_eq!((queue.len(), queue.len_of(&'a')), (2, 1));
        queue.purge(&'a', |_| true);
        queue.purge(&'x', |_| true);
        assert_eq!((queue.len(), queue.keys()), (1, 1));
        assert_eq!(drain(queue, |_| true), "b1");
    }

    #[test]
    fn a_queue_that_one_key_uses_is_not_shared() {
        assert!(!queue("a1 a2").is_shared());
        let mut both = queue("a1 b1");
        assert!(both.is_shared());
        while both.pop().is_some() {}
        assert!(both.is_shared(), "for a while after");
    }
}
