//! Records into requests: as few as can be, and families together.
//!
//! Records that lock a record in common, directly or through others, are a *family*. Two requests that
//! hold records of one family have to follow each other, so families are kept whole where that costs no
//! request more: the largest first, each into the first request with room for all of it. What fits
//! nowhere whole fills what is left.

use std::cmp::Reverse;

use hashbrown::HashMap;

use super::locks::Held;

/// A record to pack.
pub(super) struct Piece {
    /// Bytes it takes.
    pub(super) bytes: usize,
    /// What it locks.
    pub(super) locks: Held,
}

/// A request that is being filled.
#[derive(Default)]
struct Bin {
    members: Vec<usize>,
    bytes: usize,
}

/// The room of a request.
#[derive(Clone, Copy)]
struct Size {
    records: usize,
    bytes: usize,
}

impl Bin {
    fn takes(&self, records: usize, bytes: usize, most: Size) -> bool {
        // A record larger than any request goes by itself.
        let whole = self.members.is_empty() && records == 1;
        whole || (self.members.len() + records <= most.records && self.bytes + bytes <= most.bytes)
    }

    fn put(&mut self, member: usize, bytes: usize) {
        self.members.push(member);
        self.bytes += bytes;
    }
}

/// Packs the pieces into requests: their numbers, in their order within a request.
pub(super) fn pack(pieces: &[Piece], records: usize, bytes: usize) -> Vec<Vec<usize>> {
    let most = Size {
        records: records.max(1),
        bytes,
    };
    let total: usize = pieces.iter().map(|p| p.bytes).sum();
    if pieces.len() <= most.records && total <= most.bytes {
        return match pieces.is_empty() {
            true => Vec::new(),
            false => vec![(0..pieces.len()).collect()],
        };
    }
    let fewest = pieces
        .len()
        .div_ceil(most.records)
        .max(total.div_ceil(most.bytes.max(1)));
    let mut bins: Vec<Bin> = Vec::with_capacity(fewest + 1);
    let size = |member: &usize| pieces.get(*member).map_or(0, |p| p.bytes);
    // All requests before this one are full.
    let mut first = 0;
    for family in families(pieces, most.records) {
        let need: usize = family.iter().map(size).sum();
        while bins
            .get(first)
            .is_some_and(|b| b.members.len() >= most.records)
        {
            first += 1;
        }
        let mut open = bins.iter_mut().skip(first);
        if let Some(bin) = open.find(|bin| bin.takes(family.len(), need, most)) {
            family.iter().for_each(|m| bin.put(*m, size(m)));
            continue;
        }
        if bins.len() < fewest && Bin::default().takes(family.len(), need, most) {
            let mut bin = Bin::default();
            family.iter().for_each(|m| bin.put(*m, size(m)));
            bins.push(bin);
            continue;
        }
        split(&family, &size, &mut bins, first, fewest, most);
    }
    for bin in &mut bins {
        bin.members.sort_unstable();
    }
    bins.sort_by_key(|bin| bin.members.first().copied());
    bins.into_iter().map(|bin| bin.members).collect()
}

/// Lines the pieces up with families side by side, and cuts the line where it gets too long.
pub(super) fn line_up(pieces: &[Piece], records: usize, bytes: usize) -> Vec<Vec<usize>> {
    let mut lines: Vec<Bin> = Vec::new();
    let most = Size {
        records: usize::MAX,
        bytes,
    };
    for member in families(pieces, records.max(1)).into_iter().flatten() {
        let size = pieces.get(member).map_or(0, |p| p.bytes);
        match lines.last_mut().filter(|line| line.takes(1, size, most)) {
            Some(line) => line.put(member, size),
            None => {
                let mut line = Bin::default();
                line.put(member, size);
                lines.push(line);
            }
        }
    }
    lines.into_iter().map(|line| line.members).collect()
}

/// A family that fits nowhere whole: into requests of its own, and its rest into what room is left,
/// the largest room first.
fn split(
    family: &[usize],
    size: &impl Fn(&usize) -> usize,
    bins: &mut Vec<Bin>,
    first: usize,
    fewest: usize,
    most: Size,
) {
    let mut rest = family.iter().copied().peekable();
    while rest.peek().is_some() {
        let roomiest = (first..bins.len()).max_by_key(|b| {
            bins.get(*b)
                .map(|bin| most.records.saturating_sub(bin.members.len()))
        });
        let fits = |bin: &Bin, m: &usize| bin.takes(1, size(m), most);
        let place = match roomiest {
            _ if bins.len() < fewest => None,
            Some(b)
                if bins
                    .get(b)
                    .zip(rest.peek())
                    .is_some_and(|(bin, m)| fits(bin, m)) =>
            {
                Some(b)
            }
            _ => (first..bins.len()).find(|b| {
                bins.get(*b)
                    .zip(rest.peek())
                    .is_some_and(|(bin, m)| fits(bin, m))
            }),
        };
        let place = place.unwrap_or_else(|| {
            bins.push(Bin::default());
            bins.len() - 1
        });
        let Some(bin) = bins.get_mut(place) else {
            return;
        };
        while let Some(member) = rest.next_if(|m| fits(bin, m)) {
            bin.put(member, size(&member));
        }
    }
}

/// The families, the largest first; the members of one in their order, but those of one parent next to
/// each other where the family is too large for one request.
fn families(pieces: &[Piece], records: usize) -> Vec<Vec<usize>> {
    let mut tree = Tree::new(pieces.len());
    // By lock: who came first, and how many they are.
    let mut holders: HashMap<u64, (usize, usize)> = HashMap::with_capacity(pieces.len());
    for (member, piece) in pieces.iter().enumerate() {
        for lock in &piece.locks {
            let (other, count) = holders.entry(*lock).or_insert((member, 0));
            *count += 1;
            tree.join(member, *other);
        }
    }
    let mut numbers: HashMap<usize, usize> = HashMap::with_capacity(pieces.len());
    let mut families: Vec<Vec<usize>> = Vec::new();
    for member in 0..pieces.len() {
        let root = tree.root(member);
        let number = *numbers.entry(root).or_insert(families.len());
        if number == families.len() {
            families.push(Vec::new());
        }
        if let Some(family) = families.get_mut(number) {
            family.push(member);
        }
    }
    for family in families.iter_mut().filter(|f| f.len() > records) {
        family.sort_by_cached_key(|member| {
            let locks = pieces.get(*member).map(|p| p.locks.iter());
            let shared = locks.into_iter().flatten().filter_map(|l| holders.get(l));
            let most = shared.max_by_key(|(first, count)| (*count, Reverse(*first)));
            most.map(|(first, _)| *first)
        });
    }
    families.sort_by_key(|family| Reverse(family.len()));
    families
}

/// Sets of members that grow together.
struct Tree(Vec<usize>);

impl Tree {
    fn new(len: usize) -> Self {
        Tree((0..len).collect())
    }

    fn root(&mut self, mut member: usize) -> usize {
        while let Some(&above) = self.0.get(member)
            && above != member
        {
            // Every step halves the way for the next.
            let higher = self.0.get(above).copied().unwrap_or(above);
            if let Some(slot) = self.0.get_mut(member) {
                *slot = higher;
            }
            member = higher;
        }
        member
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        // The older one stays, so that the order of arrival decides, and nothing else.
        if let Some(slot) = self.0.get_mut(a.max(b)) {
            *slot = a.min(b);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn pieces(locks: impl IntoIterator<Item = Vec<u64>>) -> Vec<Piece> {
        let piece = |locks: Vec<u64>| Piece {
            bytes: 10,
            locks: locks.into(),
        };
        locks.into_iter().map(piece).collect()
    }

    /// Requests that hold records of one family.
    fn meetings(pieces: &[Piece], packed: &[Vec<usize>]) -> usize {
        let locks = |members: &Vec<usize>| -> BTreeSet<u64> {
            members
                .iter()
                .flat_map(|m| pieces[*m].locks.iter().copied())
                .collect()
        };
        let locks: Vec<_> = packed.iter().map(locks).collect();
        let pairs = (0..locks.len()).flat_map(|a| (0..a).map(move |b| (a, b)));
        pairs
            .filter(|(a, b)| !locks[*a].is_disjoint(&locks[*b]))
            .count()
    }

    #[test]
    fn strangers_go_in_their_order() {
        let packed = pack(&pieces((0..7).map(|i| vec![i])), 3, 1000);
        assert_eq!(packed, [vec![0, 1, 2], vec![3, 4, 5], vec![6]]);
        assert_eq!(pack(&[], 3, 1000), Vec::<Vec<usize>>::new());
    }

    #[test]
    fn families_stay_together_at_no_request_more() {
        // Ten parents with 30 children each, one after the other child by child.
        let children = pieces((0..300).map(|i| vec![i + 1000, i % 10]));
        let packed = pack(&children, 200, 100_000);
        assert_eq!((packed.len(), meetings(&children, &packed)), (2, 0));
        // Four families of 101 need three requests; only one family is parted.
        let children = pieces((0..404).map(|i| vec![i + 1000, i % 4]));
        let packed = pack(&children, 200, 100_000);
        assert_eq!((packed.len(), meetings(&children, &packed)), (3, 1));
        // A family of 500, and strangers: two requests are full of it, and it is in three.
        let children = pieces((0..1500).map(|i| match i % 3 {
            0 => vec![i + 10_000, 1],
            _ => vec![i + 10_000],
        }));
        let packed = pack(&children, 200, 100_000);
        assert_eq!((packed.len(), meetings(&children, &packed)), (8, 3));
    }

    #[test]
    fn a_family_too_large_is_parted_by_parents() {
        // Every account has 50 contacts, and all of them one owner.
        let children = pieces((0..400).map(|i| vec![i + 10_000, i % 8, 99]));
        let packed = pack(&children, 100, 100_000);
        assert_eq!(packed.len(), 4);
    }

    #[test]
    fn families_stand_side_by_side_in_a_job() {
        let lines = line_up(&pieces([7, 1, 2, 1, 2, 1].map(|p| vec![p])), 200, 1000);
        assert_eq!(lines, [vec![1, 3, 5, 2, 4, 0]]);
        let lines = line_up(&pieces([7, 1, 2, 1, 2, 1].map(|p| vec![p])), 200, 40);
        assert_eq!(lines, [vec![1, 3, 5, 2], vec![4, 0]]);
        // One that is larger than what is written together is parted by parents.
        let all = (0..8).collect();
        let children = (1..400).map(|i| vec![i + 10_000, i % 8]).chain([all]);
        let lines = line_up(&pieces(children), 100, 100_000);
        let parent = |member: &usize| (member + 1) % 8;
        let line: Vec<usize> = lines[0].iter().filter(|m| **m < 399).map(parent).collect();
        let changes = line.windows(2).filter(|w| w[0] != w[1]).count();
        assert_eq!((lines.len(), line.len(), changes), (1, 399, 7));
        assert_eq!(line_up(&[], 200, 40), Vec::<Vec<usize>>::new());
    }

    #[test]
    fn bytes_bound_a_request_and_a_giant_goes_alone() {
        let mut all = pieces((0..6).map(|i| vec![i]));
        all[2].bytes = 500;
        assert_eq!(pack(&all, 200, 30), [vec![0, 1, 3], vec![2], vec![4, 5]]);
    }

    proptest! {
        #[test]
        fn each_record_once_in_as_few_requests_as_can_be(
            locks in prop::collection::vec(prop::collection::vec(0_u64..40, 0..4), 0..300),
            records in 1_usize..60,
        ) {
            let all = pieces(locks);
            let packed = pack(&all, records, usize::MAX / 2);
            let mut seen: Vec<usize> = packed.iter().flatten().copied().collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..all.len()).collect::<Vec<_>>());
            prop_assert!(packed.iter().all(|p| !p.is_empty() && p.len() <= records && p.is_sorted()));
            prop_assert_eq!(packed.len(), all.len().div_ceil(records));
        }

        #[test]
        fn no_request_is_too_large(
            sizes in prop::collection::vec(1_usize..400, 0..200),
            families in 1_u64..50,
        ) {
            let mut all = pieces((0..sizes.len() as u64).map(|i| vec![1000 + i, i % families]));
            for (piece, size) in all.iter_mut().zip(&sizes) {
                piece.bytes = *size;
            }
            let packed = pack(&all, 20, 1000);
            let mut seen: Vec<usize> = packed.iter().flatten().copied().collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..all.len()).collect::<Vec<_>>());
            for request in &packed {
                let bytes: usize = request.iter().map(|m| sizes[*m]).sum();
                prop_assert!(request.len() <= 20 && bytes <= 1000);
            }
        }
    }
}
