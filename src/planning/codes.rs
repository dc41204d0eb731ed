//! Our own codes of faults, and what they say of an operation. (The CRM's are in upper case.)

use crate::fault::{Class, Fault};
use crate::mapping::{DELETE_INCOMPLETE, FIELD_BROKEN, OBJECT_CLOSED, TABLE_HALTED};

/// The code of the fault of a delete that the brake holds.
pub const BRAKE_DELETES: &str = "brake_deletes";

/// The code of the fault of an operation on a record that is written too often.
pub const BRAKE_WRITES: &str = "brake_writes";

/// The code of a delete that waits for its transaction to be known whole.
pub const TRANSACTION_OPEN: &str = "transaction_open";

/// The code of the fault of an operation on which a person has to decide.
pub const CONFLICT: &str = "conflict";

/// The code of an operation that would make a record, where several could be taken over.
pub const ADOPT_AMBIGUOUS: &str = "adopt_ambiguous";

/// Whether one of the brakes holds it.
pub fn is_braked(fault: &Fault) -> bool {
    fault.code == BRAKE_DELETES || fault.code == BRAKE_WRITES
}

/// A fault that says why an operation was not sent then, and nothing of the operation.
pub fn passes(fault: &Fault) -> bool {
    is_braked(fault) || fault.code == TRANSACTION_OPEN || fault.code == ADOPT_AMBIGUOUS
}

/// The table, the field or the object no longer fits, or is closed to us, for every record alike.
pub fn is_drift(fault: &Fault) -> bool {
    [TABLE_HALTED, FIELD_BROKEN, OBJECT_CLOSED].contains(&&*fault.code)
}

/// The mapping, not the CRM, refused the record: our own codes are in lower case.
pub(super) fn is_own(fault: &Fault) -> bool {
    fault.class == Class::Record
        && !is_drift(fault)
        && fault.code != DELETE_INCOMPLETE
        && fault.code != CONFLICT
        && !passes(fault)
        && !fault.code.is_empty()
        && fault.code.bytes().all(|b| !b.is_ascii_uppercase())
}
