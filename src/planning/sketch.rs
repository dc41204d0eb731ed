//! How often each of very many keys was seen in about the last hour, in memory that does not grow.
//!
//! A count-min sketch with conservative update: four rows of 65,536 counters of two bytes, and two
//! generations of half an hour each, together 1 MiB. The answer is the sum of both generations.
//!
//! It never says less than the times that a key was seen since the generation before last ended, that
//! is in at least the last half hour, and counts nothing older than an hour. It can say more, where
//! other keys share all four counters: of `n` keys seen in a generation, by more than `n / 24,000`
//! with a chance of less than 2 % (`e^-4`), and in practice hardly ever by more than one while `n` is
//! below 50,000. Counts end at 65,535.

use std::time::Duration;

use crate::change::Timestamp;

const WIDTH: usize = 1 << 16;
const ROWS: usize = 4;
/// How long a generation lasts.
const GENERATION: Duration = Duration::from_secs(1_800);

type Counters = Box<[u16]>;

/// The sketch.
pub(super) struct Sketch {
    now: Counters,
    before: Counters,
    /// When the generation began; none before the first key.
    since: Option<Timestamp>,
}

impl std::fmt::Debug for Sketch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sketch").finish_non_exhaustive()
    }
}

fn empty() -> Counters {
    vec![0; WIDTH * ROWS].into()
}

/// The key's counter in each row. One hash of 64 bits has room for four numbers of 16.
fn places(hash: u64) -> [usize; ROWS] {
    [0, 1, 2, 3].map(|row| row * WIDTH + (hash >> (16 * row)) as usize % WIDTH)
}

fn least(counters: &Counters, places: [usize; ROWS]) -> u16 {
    let counts = places.iter().filter_map(|p| counters.get(*p)).copied();
    counts.min().unwrap_or(0)
}

impl Sketch {
    pub(super) fn new() -> Self {
        Sketch {
            now: empty(),
            before: empty(),
            since: None,
        }
    }

    /// Counts a key, given by its hash, once more; how often it was seen, this time included.
    pub(super) fn add(&mut self, hash: u64, at: Timestamp) -> u32 {
        self.turn(at);
        let places = places(hash);
        let count = least(&self.now, places).saturating_add(1);
        for place in places {
            if let Some(counter) = self.now.get_mut(place) {
                *counter = (*counter).max(count);
            }
        }
        u32::from(count) + u32::from(least(&self.before, places))
    }

    /// How often a key was seen.
    pub(super) fn count(&self, hash: u64) -> u32 {
        let places = places(hash);
        u32::from(least(&self.now, places)) + u32::from(least(&self.before, places))
    }

    fn turn(&mut self, at: Timestamp) {
        let since = *self.since.get_or_insert(at);
        let age = at.since(since);
        if age < GENERATION {
            return;
        }
        if age < GENERATION * 2 {
            std::mem::swap(&mut self.now, &mut self.before);
            let next = i64::try_from(GENERATION.as_micros()).unwrap_or(i64::MAX);
            self.since = Some(Timestamp(since.0.saturating_add(next)));
        } else {
            self.before.fill(0);
            self.since = Some(at);
        }
        self.now.fill(0);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use xxhash_rust::xxh3::xxh3_64;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1_000_000)
    }

    proptest! {
        #[test]
        fn it_never_says_too_little_and_forgets_within_an_hour(
            seen in prop::collection::vec((0_u64..40, 0_i64..200), 1..400)
        ) {
            let mut sketch = Sketch::new();
            let mut times: HashMap<u64, Vec<i64>> = HashMap::new();
            let mut now = 0;
            for (key, pause) in seen {
                now += pause;
                let hash = xxh3_64(&key.to_le_bytes());
                let said = sketch.add(hash, at(now));
                let before = times.entry(key).or_default();
                before.push(now);
                let within = |span: i64| before.iter().filter(|t| now - **t < span).count() as u32;
                prop_assert!(said >= within(1_800), "{said} is too little");
                // Few keys: none shares all its counters with others.
                prop_assert!(said <= within(3_601), "{said} is too much");
                prop_assert_eq!(sketch.count(hash), said);
            }
        }
    }

    #[test]
    fn many_other_keys_add_little() {
        let mut sketch = Sketch::new();
        let hot = xxh3_64(b"hot");
        let n = 200_000_u64;
        for key in 0..n {
            sketch.add(xxh3_64(&key.to_le_bytes()), at(0));
            if key % 10_000 == 0 {
                sketch.add(hot, at(0));
            }
        }
        let bound = u32::try_from(n / 24_000).unwrap_or(u32::MAX);
        assert!((20..=20 + bound).contains(&sketch.count(hot)));
        let wrong = (0..n).filter(|key| sketch.count(xxh3_64(&key.to_le_bytes())) > 1 + bound);
        let wrong = wrong.count() as u64;
        assert!(wrong * 50 < n, "{wrong} of {n} by more than {bound}");
    }

    #[test]
    fn counts_end_and_old_ones_go() {
        let mut sketch = Sketch::new();
        for _ in 0..70_000 {
            sketch.add(1, at(0));
        }
        assert_eq!(sketch.count(1), 65_535);
        assert_eq!(sketch.add(1, at(1_801)), 65_536);
        assert_eq!(sketch.add(1, at(9_000)), 1);
    }
}
