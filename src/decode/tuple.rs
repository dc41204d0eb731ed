//! Rows: where the value of each column lies in its frame.

use smallvec::SmallVec;

use super::reader::{Read, Reader};
use crate::change::Span;

/// One span a column. Rows of up to 16 columns cost no allocation.
pub type Spans = SmallVec<[Span; 16]>;

/// Reads a tuple: a count of columns, then a kind each and, for a value, its length and bytes.
pub(super) fn spans(r: &mut Reader<'_>) -> Read<Spans> {
    let count = usize::from(r.columns()?);
    // A column takes one byte at least.
    if count > r.left() {
        return Err("a row with more columns than bytes");
    }
    let mut spans = Spans::with_capacity(count);
    for _ in 0..count {
        spans.push(match r.u8()? {
            b't' => {
                let len = r.u32()?;
                let offset = r.offset();
                r.take(len as usize)?;
                Span::Text { offset, len }
            }
            b'n' => Span::Null,
            b'u' => Span::Unchanged,
            b'b' => return Err("a value in binary form, which was not asked for"),
            _ => return Err("a column value of an unknown kind"),
        });
    }
    Ok(spans)
}

/// Takes the values that an update left alone from the whole old row, which holds them and lies in
/// the same frame.
pub(super) fn fill_unchanged(new: &mut Spans, old: &Spans) {
    for (new, old) in new.iter_mut().zip(old) {
        if *new == Span::Unchanged {
            *new = *old;
        }
    }
}
