//! The position, as it stands in a CRM field: text whose order is the order of positions.
//!
//! `00000001A2B3C4D0.000000000000002A@9f3c21`: where the transaction committed, the change's place in it,
//! and from which database. Positions of two databases cannot be compared.

use crate::change::{Lsn, Position};

/// Characters of the text; the field has to hold them.
pub const VERSION_LENGTH: u32 = 40;

/// Which database positions are of: a mark of its system identifier and name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Origin(u32);

impl Origin {
    /// Of a database.
    pub fn new(system: &str, database: &str) -> Self {
        let hash = xxhash_rust::xxh3::xxh3_64(format!("{system}/{database}").as_bytes());
        Origin((hash & 0x00FF_FFFF) as u32)
    }

    /// What is written with a change at `position`.
    pub fn version(self, position: Position) -> String {
        format!(
            "{:016X}.{:016X}@{:06x}",
            position.commit.0, position.ordinal, self.0
        )
    }

    /// The position that a version names, if it is of this database.
    pub fn position(self, version: &str) -> Option<Position> {
        let (position, origin) = version.split_once('@')?;
        if u32::from_str_radix(origin, 16).ok()? != self.0 {
            return None;
        }
        let (commit, ordinal) = position.split_once('.')?;
        Some(Position {
            commit: Lsn(u64::from_str_radix(commit, 16).ok()?),
            ordinal: u64::from_str_radix(ordinal, 16).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn p2_versions_sort_as_positions_do(a: (u64, u64), b: (u64, u64)) {
            let position = |(commit, ordinal)| Position { commit: Lsn(commit), ordinal };
            let (a, b) = (position(a), position(b));
            let origin = Origin::new("7", "app");
            let (x, y) = (origin.version(a), origin.version(b));
            prop_assert_eq!(x.cmp(&y), a.cmp(&b));
            prop_assert_eq!(x.len(), VERSION_LENGTH as usize);
            prop_assert_eq!(origin.position(&x), Some(a));
        }
    }

    #[test]
    fn another_database_cannot_be_compared() {
        let version = Origin::new("7", "app").version(Position::default());
        assert_eq!(Origin::new("8", "app").position(&version), None);
        for bad in ["", "@", "1@", "1.2", "x.y@000000", "1.2@zz"] {
            assert_eq!(Origin::default().position(bad), None, "{bad}");
        }
    }
}
