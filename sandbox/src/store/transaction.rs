//! What lets several calls be taken back together.

use std::collections::HashSet;

use super::Store;
use crate::Error;
use crate::ids::Id;

/// Calls in progress that stand or fall together.
#[derive(Debug)]
pub(crate) struct Transaction {
    /// The length of the write log and the next number of a record before them.
    logged: usize,
    next: u64,
    /// The rows that each record would lock.
    pub(crate) wanted: Vec<Vec<Id>>,
    /// Rows that could not be locked.
    pub(crate) locked: HashSet<Id>,
}

impl Store {
    /// From now on nothing is committed.
    pub(crate) fn begin(&mut self, locked: HashSet<Id>) {
        self.transaction = Some(Transaction {
            logged: self.log.len(),
            next: self.next,
            wanted: Vec::new(),
            locked,
        });
    }

    /// Takes everything back as if it had not been, and tells which rows it wanted.
    pub(crate) fn rehearsed(&mut self) -> Vec<Vec<Id>> {
        let Some(transaction) = self.transaction.take() else {
            return Vec::new();
        };
        self.undo_to(0);
        self.regrant();
        self.log.truncate(transaction.logged);
        self.next = transaction.next;
        transaction.wanted
    }

    /// Commits everything, or takes it back: then the write log says so of each record.
    pub(crate) fn end(&mut self, keep: bool) -> Result<(), Error> {
        if let Some(transaction) = self.transaction.take()
            && !keep
        {
            self.undo_to(0);
            self.regrant();
            self.log.halt(transaction.logged);
        }
        self.commit()
    }
}
