//! Which batch of a stage goes when: no two that lock the same record are under way at once.
//!
//! ```text
//!            all its locks are free                     its request has ended
//!   waiting ────────────────────────► under way ───────────────────────────────► done
//!      ▲                                                        │
//!      └── parked at one lock that is held ◄────────────────────┘ wakes who is parked there
//! ```
//!
//! Invariants: a batch takes all its locks or none, so nobody waits for another while holding what
//! that one needs. Of those that can go, the oldest goes. A batch that waits is parked at exactly one
//! held lock, or an older one that was woken by that lock is looked at before it: so an end wakes a
//! single batch a lock, however many wait there.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use hashbrown::{HashMap, HashSet};

use super::locks::Locks;

/// The batches of a stage, by their number.
#[derive(Debug, Default)]
pub struct Lanes {
    locks: Vec<Locks>,
    held: HashSet<u64>,
    /// Who waits for a lock that is held, oldest first.
    parked: HashMap<u64, BinaryHeap<Reverse<usize>>>,
    /// Who is to be looked at, oldest first, and the lock whose end woke it.
    woken: BinaryHeap<Reverse<(usize, Option<u64>)>>,
}

impl Lanes {
    /// Batches that lock these, oldest first.
    pub fn new(locks: Vec<Locks>) -> Self {
        Lanes {
            woken: (0..locks.len())
                .map(|batch| Reverse((batch, None)))
                .collect(),
            locks,
            ..Lanes::default()
        }
    }

    /// The oldest batch that can go; it is under way from now on. None when all that are left wait
    /// for one that is under way, or none is left.
    pub fn start(&mut self) -> Option<usize> {
        while let Some(Reverse((batch, woken_by))) = self.woken.pop() {
            let Some(locks) = self.locks.get(batch) else {
                continue;
            };
            let busy = locks.iter().find(|lock| self.held.contains(lock));
            let Some(busy) = busy else {
                self.held.extend(locks.iter());
                return Some(batch);
            };
            self.parked.entry(busy).or_default().push(Reverse(batch));
            // It does not use what woke it: the next one may.
            if let Some(lock) = woken_by.filter(|lock| !self.held.contains(lock)) {
                self.wake(lock);
            }
        }
        None
    }

    /// The batch is done with; its locks are free.
    pub fn end(&mut self, batch: usize) {
        let locks = self.locks.get_mut(batch).map(std::mem::take);
        for lock in locks.unwrap_or_default().iter() {
            self.held.remove(&lock);
            self.wake(lock);
        }
    }

    fn wake(&mut self, lock: u64) {
        let Some(waiting) = self.parked.get_mut(&lock) else {
            return;
        };
        if let Some(Reverse(batch)) = waiting.pop() {
            self.woken.push(Reverse((batch, Some(lock))));
        }
        if waiting.is_empty() {
            self.parked.remove(&lock);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn lanes(locks: &[&[u64]]) -> Lanes {
        let locks = locks.iter().map(|l| l.iter().copied().collect());
        Lanes::new(locks.collect())
    }

    fn started(lanes: &mut Lanes) -> Vec<usize> {
        std::iter::from_fn(|| lanes.start()).collect()
    }

    #[test]
    fn what_shares_a_lock_follows_and_the_rest_goes_beside() {
        // A family of three batches; strangers; one that touches two families; one without locks.
        let mut lanes = lanes(&[&[1, 10], &[1, 11], &[2], &[1, 2], &[3], &[], &[2, 4]]);
        assert_eq!(started(&mut lanes), [0, 2, 4, 5]);
        lanes.end(2);
        // 3 is older, but 1 is held.
        assert_eq!(started(&mut lanes), [6]);
        lanes.end(0);
        assert_eq!(started(&mut lanes), [1]);
        lanes.end(6);
        assert_eq!(started(&mut lanes), [] as [usize; 0]);
        lanes.end(1);
        assert_eq!(started(&mut lanes), [3]);
        for batch in [3, 4, 5] {
            lanes.end(batch);
        }
        assert_eq!(lanes.start(), None);
        assert!(lanes.parked.is_empty() && lanes.held.is_empty());
    }

    #[test]
    fn the_oldest_that_can_go_goes() {
        let mut lanes = lanes(&[&[1, 2], &[2], &[1], &[1], &[2]]);
        assert_eq!(started(&mut lanes), [0]);
        lanes.end(0);
        assert_eq!(started(&mut lanes), [1, 2]);
        lanes.end(2);
        assert_eq!(started(&mut lanes), [3]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        /// Random families, random ends: never two that overlap, always the oldest that can go, and
        /// everybody's turn comes.
        #[test]
        fn nobody_meets_and_nobody_is_left(
            sets in prop::collection::vec(prop::collection::btree_set(0_u64..12, 0..5), 0..40),
            most in 1_usize..6,
            ends in prop::collection::vec(any::<prop::sample::Index>(), 40),
        ) {
            let mut lanes = Lanes::new(sets.iter().map(|s| s.iter().copied().collect()).collect());
            let mut waiting: BTreeSet<usize> = (0..sets.len()).collect();
            let mut under_way: Vec<usize> = Vec::new();
            let mut ends = ends.into_iter();
            loop {
                while under_way.len() < most {
                    let free = |b: &usize| under_way.iter().all(|u| sets[*u].is_disjoint(&sets[*b]));
                    let oldest = waiting.iter().copied().find(free);
                    prop_assert_eq!(lanes.start(), oldest);
                    let Some(batch) = oldest else { break };
                    waiting.remove(&batch);
                    under_way.push(batch);
                }
                if under_way.is_empty() {
                    break;
                }
                let ended = under_way.remove(ends.next().unwrap().index(under_way.len()));
                lanes.end(ended);
            }
            prop_assert!(waiting.is_empty());
            prop_assert!(lanes.held.is_empty() && lanes.parked.is_empty());
        }
    }
}
