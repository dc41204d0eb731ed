//! Reads a frame from its beginning to its end, without ever going past it.

use crate::change::Lsn;

/// Most columns a table can have (`MaxHeapAttributeNumber`); a view or a tuple has no more than 1664.
const MAX_COLUMNS: u16 = 1664;

const TOO_SHORT: &str = "the message ends too early";

/// What could be read, or what is wrong at the reader's offset.
pub(super) type Read<T> = Result<T, &'static str>;

/// Reads big-endian numbers and texts from a frame, never beyond its end.
pub(super) struct Reader<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
    pub(super) showable: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Reader {
            bytes,
            at: 0,
            showable: bytes.len(),
        }
    }

    /// Offset of the next byte. Below 4 GiB: `read` has checked the frame's length.
    pub(super) fn offset(&self) -> u32 {
        self.at as u32
    }

    /// Bytes not yet read.
    pub(super) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    #[inline]
    pub(super) fn take(&mut self, len: usize) -> Read<&'a [u8]> {
        let end = self.at.checked_add(len).ok_or(TOO_SHORT)?;
        let taken = self.bytes.get(self.at..end).ok_or(TOO_SHORT)?;
        self.at = end;
        Ok(taken)
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let rest = self.bytes.get(self.at..).ok_or(TOO_SHORT)?;
        let taken = rest.first_chunk::<N>().ok_or(TOO_SHORT)?;
        self.at += N;
        Ok(*taken)
    }

    #[inline]
    pub(super) fn u8(&mut self) -> Read<u8> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    #[inline]
    pub(super) fn u32(&mut self) -> Read<u32> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(super) fn i32(&mut self) -> Read<i32> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub(super) fn i64(&mut self) -> Read<i64> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    pub(super) fn lsn(&mut self) -> Read<Lsn> {
        Ok(Lsn(u64::from_be_bytes(self.array()?)))
    }

    /// A number of columns that a table can have.
    #[inline]
    pub(super) fn columns(&mut self) -> Read<u16> {
        let count = u16::from_be_bytes(self.array()?);
        if count > MAX_COLUMNS {
            return Err("more columns than a table can have");
        }
        Ok(count)
    }

    /// A byte of flags, of which only those in `known` may be set.
    pub(super) fn flags(&mut self, known: u8) -> Read<u8> {
        let flags = self.u8()?;
        if flags & !known != 0 {
            return Err("flags that protocol 1 does not know");
        }
        Ok(flags)
    }

    /// Text up to a NUL.
    pub(super) fn string(&mut self) -> Read<&'a str> {
        let rest = self.bytes.get(self.at..).ok_or(TOO_SHORT)?;
        let len = rest.iter().position(|b| *b == 0).ok_or(TOO_SHORT)?;
        let text = std::str::from_utf8(self.take(len)?).map_err(|_| "a name that is not UTF-8")?;
        self.at += 1;
        Ok(text)
    }
}
