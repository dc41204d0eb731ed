//! Both sides have changed a field: whose value stays.
//!
//! ```text
//!  the CRM holds ours already ───────────────────────────► already there
//!  a person has decided, or nobody touched what we wrote ► write
//!  it was empty and never ours, or is our own write ─────► write
//!  somebody changed it:  owner = "ask" ──────────────────► ask
//!                        ours is later than the edit ────► write
//!                        the edit is, or nobody knows ───► keep
//! ```
//!
//! The CRM tells times by whole seconds, cut off. So the database's change wins only if it came after
//! the whole second of the edit; a tie, and whatever is not known, goes to the person.

use super::record::LedgerEntry;
use crate::change::Timestamp;
use crate::mapping::{Changed, Fingerprint, Owner, TargetField};

/// A second, by which the CRM tells times.
const SECOND: i64 = 1_000_000;

/// What the ledger knows of a field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Base {
    /// Nothing: it may never have been ours.
    Unknown,
    /// We wrote this.
    Wrote(Fingerprint),
    /// We did not write it: a person's value was kept.
    Declined,
}

impl Base {
    /// Of this field, by its record's ledger entry.
    pub fn of(ledger: Option<&LedgerEntry>, field: &TargetField) -> Base {
        let Some(ledger) = ledger.filter(|l| l.exists()) else {
            return Base::Unknown;
        };
        match ledger.fingerprint(field.id) {
            _ if ledger.kept_since(field.id).is_some() => Base::Declined,
            Some(written) => Base::Wrote(written),
            None => Base::Unknown,
        }
    }
}

/// When what the CRM holds came to be there, on the CRM's clock, cut to the second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Edit {
    /// We wrote it ourselves.
    Ours(Timestamp),
    /// Somebody else wrote it then.
    At(Timestamp),
    /// Not later than then, when the record was last changed.
    AtMost {
        /// When.
        at: Timestamp,
        /// Nobody but us has ever changed the record.
        untouched: bool,
    },
}

impl Edit {
    /// When, at the latest.
    pub fn latest(self) -> Timestamp {
        match self {
            Edit::Ours(at) | Edit::At(at) | Edit::AtMost { at, .. } => at,
        }
    }
}

/// A contested field that is about to be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Question {
    /// Who has the last word.
    pub owner: Owner,
    /// What is to be written.
    pub ours: Fingerprint,
    /// When it changed.
    pub changed: Changed,
    /// What the CRM holds.
    pub theirs: Fingerprint,
    /// It holds nothing.
    pub empty: bool,
    /// What we know to have written.
    pub base: Base,
    /// When what it holds came to be there.
    pub edit: Edit,
    /// What is added to a time of the database to have it on the CRM's clock, in microseconds.
    pub lead: i64,
}

/// What becomes of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// It is written.
    Write,
    /// The CRM has it.
    AlreadyThere,
    /// The CRM keeps what it has.
    Keep {
        /// Since when it has that, at the latest.
        edited: Timestamp,
    },
    /// A person has to decide.
    Ask {
        /// Since when the CRM has what it has, at the latest.
        edited: Timestamp,
    },
}

/// Whose value stays.
pub fn judge(question: &Question) -> Answer {
    let q = question;
    if q.theirs == q.ours {
        return Answer::AlreadyThere;
    }
    if q.changed.decided || is_free(q) || is_own(q) {
        return Answer::Write;
    }
    let edited = q.edit.latest();
    match q.owner {
        Owner::Source => Answer::Write,
        Owner::Crm => Answer::Keep { edited },
        Owner::Ask => Answer::Ask { edited },
        Owner::Newest if is_later(q, edited) => Answer::Write,
        Owner::Newest => Answer::Keep { edited },
    }
}

/// Nobody has touched it since we wrote it, or it was never filled.
fn is_free(q: &Question) -> bool {
    match q.base {
        Base::Wrote(ours) => q.theirs == ours,
        Base::Unknown => q.empty,
        Base::Declined => false,
    }
}

/// What it holds is our own write, of which the ledger does not know.
fn is_own(q: &Question) -> bool {
    match q.edit {
        Edit::Ours(_) => true,
        Edit::AtMost { untouched, .. } => untouched,
        Edit::At(_) => false,
    }
}

/// The database's change came after the whole second of the edit.
fn is_later(q: &Question, edited: Timestamp) -> bool {
    // A change that may only name what was there before says nothing where we do not know what was.
    let known = q.changed.sure || q.base != Base::Unknown;
    let Some(at) = q.changed.at.filter(|_| known) else {
        return false;
    };
    at.0.saturating_add(q.lead) >= edited.0.saturating_add(SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Fingerprint = Fingerprint(1);
    const THEIRS: Fingerprint = Fingerprint(2);
    const BEFORE: Fingerprint = Fingerprint(3);

    fn second(n: i64) -> Timestamp {
        Timestamp(n * SECOND)
    }

    /// Somebody changed the field at second 100; our change is of second 200.
    fn question() -> Question {
        Question {
            owner: Owner::Newest,
            ours: OURS,
            changed: Changed {
                slot: 0,
                at: Some(second(200)),
                sure: false,
                decided: false,
            },
            theirs: THEIRS,
            empty: false,
            base: Base::Wrote(BEFORE),
            edit: Edit::At(second(100)),
            lead: 0,
        }
    }

    fn at_most(n: i64, untouched: bool) -> Edit {
        let at = second(n);
        Edit::AtMost { at, untouched }
    }

    /// P5, as a table.
    #[test]
    fn p5_who_wins() {
        use Answer::{AlreadyThere, Ask, Keep, Write};
        let q = question;
        let changed = |at: Option<i64>, sure, decided| Changed {
            slot: 0,
            at: at.map(Timestamp),
            sure,
            decided,
        };
        let us = |n: i64| n * SECOND;
        let keep = |n| Keep { edited: second(n) };
        let ask = |n| Ask { edited: second(n) };
        #[rustfmt::skip]
        let table: Vec<(&str, Question, Answer)> = vec![
            // The same on both sides.
            ("equal", Question { theirs: OURS, ..q() }, AlreadyThere),
            ("equal, though edited later", Question { theirs: OURS, edit: Edit::At(second(300)), ..q() }, AlreadyThere),
            ("equal, to be asked", Question { theirs: OURS, owner: Owner::Ask, ..q() }, AlreadyThere),
            // Nobody touched it: whatever happened to the rest of the record.
            ("free", Question { theirs: BEFORE, edit: at_most(300, false), ..q() }, Write),
            ("free, to be asked", Question { theirs: BEFORE, owner: Owner::Ask, edit: at_most(300, false), ..q() }, Write),
            ("free, time unknown", Question { theirs: BEFORE, changed: changed(None, false, false), ..q() }, Write),
            // Known times.
            ("ours is later", q(), Write),
            ("theirs is later", Question { edit: Edit::At(second(201)), ..q() }, keep(201)),
            ("the same second", Question { edit: Edit::At(second(200)), ..q() }, keep(200)),
            ("the end of the edit's second", Question { changed: changed(Some(us(101) - 1), false, false), ..q() }, keep(100)),
            ("the second after the edit's", Question { changed: changed(Some(us(101)), false, false), ..q() }, Write),
            ("nobody knows when ours changed", Question { changed: changed(None, true, false), ..q() }, keep(100)),
            // An upper bound.
            ("ours is later than any edit", Question { edit: at_most(100, false), ..q() }, Write),
            ("the edit may be later", Question { edit: at_most(200, false), ..q() }, keep(200)),
            // Our own write, of which we do not know.
            ("our own write", Question { edit: Edit::Ours(second(300)), ..q() }, Write),
            ("our own write, where nobody else was", Question { edit: at_most(300, true), ..q() }, Write),
            ("our own write, to be asked", Question { edit: Edit::Ours(second(300)), owner: Owner::Ask, ..q() }, Write),
            // The ledger knows nothing.
            ("it was empty", Question { base: Base::Unknown, empty: true, edit: at_most(300, false), ..q() }, Write),
            ("nobody but us was ever there", Question { base: Base::Unknown, edit: at_most(300, true), ..q() }, Write),
            ("nobody knows who was there", Question { base: Base::Unknown, edit: at_most(300, false), ..q() }, keep(300)),
            ("somebody edited it before we did something else", Question { base: Base::Unknown, edit: Edit::At(second(250)), ..q() }, keep(250)),
            ("only named, not changed", Question { base: Base::Unknown, edit: at_most(100, false), ..q() }, keep(100)),
            ("changed for sure", Question { base: Base::Unknown, edit: at_most(100, false), changed: changed(Some(us(200)), true, false), ..q() }, Write),
            ("changed for sure, earlier", Question { base: Base::Unknown, edit: at_most(250, false), changed: changed(Some(us(200)), true, false), ..q() }, keep(250)),
            // Kept before.
            ("kept, and ours is newer", Question { base: Base::Declined, ..q() }, Write),
            ("kept, and ours is older", Question { base: Base::Declined, edit: Edit::At(second(300)), ..q() }, keep(300)),
            ("kept, emptied by a person", Question { base: Base::Declined, empty: true, edit: Edit::At(second(300)), ..q() }, keep(300)),
            ("kept, and we wrote another field", Question { base: Base::Declined, edit: at_most(300, false), ..q() }, keep(300)),
            // A person decides.
            ("both changed it", Question { owner: Owner::Ask, ..q() }, ask(100)),
            ("both changed it, theirs later", Question { owner: Owner::Ask, edit: Edit::At(second(300)), ..q() }, ask(300)),
            ("decided", Question { owner: Owner::Ask, edit: Edit::At(second(300)), changed: changed(Some(us(200)), true, true), ..q() }, Write),
            ("decided, though it is to be the newest", Question { edit: Edit::At(second(300)), changed: changed(None, true, true), ..q() }, Write),
            // Owners that need no look.
            ("source", Question { owner: Owner::Source, edit: Edit::At(second(300)), ..q() }, Write),
            ("crm", Question { owner: Owner::Crm, ..q() }, keep(100)),
            // Clocks.
            ("the CRM's clock is ahead", Question { edit: Edit::At(second(700)), lead: us(600), ..q() }, Write),
            ("the CRM's clock is ahead, theirs later", Question { edit: Edit::At(second(801)), lead: us(600), ..q() }, keep(801)),
            ("the CRM's clock is behind", Question { edit: Edit::At(second(0)), lead: -us(600), ..q() }, keep(0)),
            ("the ends of time", Question { edit: Edit::At(Timestamp(i64::MAX)), lead: i64::MAX, ..q() }, Write),
        ];
        for (name, question, answer) in table {
            assert_eq!(judge(&question), answer, "{name}");
        }
    }

    /// The later the edit, the more it keeps; the later our change, the less.
    #[test]
    fn p5_time_decides_one_way() {
        for edited in [0, 50, 99, 100, 101, 200] {
            let mut written = false;
            for at in 0..400 {
                let mut q = question();
                q.edit = Edit::At(second(edited));
                q.changed.at = Some(Timestamp(at * SECOND / 2));
                let writes = judge(&q) == Answer::Write;
                assert!(
                    writes || !written,
                    "a later change loses where an earlier one won"
                );
                written = writes;
            }
        }
    }
}
