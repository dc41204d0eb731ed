//! Bytes of stored values: the primitives, and the one trait that every stored type has.
//!
//! The first byte of a value is the format version; what follows is compact: lengths and numbers
//! as varints (LEB128), hashes fixed. Decoding takes any bytes and never panics: what it does not
//! understand is [`Malformed`].

use crate::fault::{Error, ErrorKind};

/// The format this program writes. It reads the older ones.
///
/// 2: times of contested fields, and the other side of conflicts, behind what format 1 has.
pub(super) const FORMAT: u8 = 2;

/// Bytes that no version of ours wrote, or a newer one did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Malformed {
    /// Not ours: damaged.
    Damaged,
    /// The first byte names a format that this program does not know.
    Version(u8),
}

impl Malformed {
    /// As an error a person can act on.
    pub(super) fn error(self, what: &'static str) -> Error {
        match self {
            Malformed::Damaged => Error::new(
                ErrorKind::Store,
                format!("the state directory is damaged: {what} cannot be read"),
            )
            .remedy(super::DAMAGED),
            Malformed::Version(version) => Error::new(
                ErrorKind::Store,
                format!(
                    "{what} in the state directory has format {version}; this program knows \
                     format {FORMAT}"
                ),
            )
            .remedy("run the version of syncline that wrote it, or a newer one"),
        }
    }
}

/// The result of decoding.
pub(super) type Decoded<T> = Result<T, Malformed>;

/// A type with a binary form.
pub(super) trait Stored: Sized {
    /// Appends it.
    fn encode(&self, out: &mut Vec<u8>);
    /// Reads it back.
    fn decode(from: &mut Reader<'_>) -> Decoded<Self>;
}

/// A whole value: version, then the content.
pub(super) fn to_value<T: Stored>(content: &T) -> Vec<u8> {
    let mut out = vec![FORMAT];
    content.encode(&mut out);
    out
}

/// Reads a whole value; bytes left over are damage.
pub(super) fn from_value<T: Stored>(value: &[u8]) -> Decoded<T> {
    let mut reader = Reader::versioned(value)?;
    let content = T::decode(&mut reader)?;
    reader.end()?;
    Ok(content)
}

pub(super) fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7F) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Takes bytes from the front.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    format: u8,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Reader {
            rest: bytes,
            format: FORMAT,
        }
    }

    /// The format that the value was written in.
    pub(super) fn format(&self) -> u8 {
        self.format
    }

    /// Nothing is left.
    pub(super) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// Past the version byte.
    pub(super) fn versioned(value: &'a [u8]) -> Decoded<Self> {
        match value.split_first() {
            Some((&format @ 1..=FORMAT, rest)) => Ok(Reader { rest, format }),
            Some((&version, _)) if version > FORMAT => Err(Malformed::Version(version)),
            _ => Err(Malformed::Damaged),
        }
    }

    pub(super) fn take(&mut self, len: usize) -> Decoded<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(Malformed::Damaged)?;
        self.rest = rest;
        Ok(head)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Decoded<[u8; N]> {
        let (head, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(Malformed::Damaged)?;
        self.rest = rest;
        Ok(*head)
    }

    pub(super) fn byte(&mut self) -> Decoded<u8> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    pub(super) fn varint(&mut self) -> Decoded<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let low = u64::from(byte & 0x7F);
            // The tenth byte holds the last bit.
            if shift == 63 && low > 1 {
                return Err(Malformed::Damaged);
            }
            number |= low << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Malformed::Damaged)
    }

    /// A count of things that take at least `each` bytes: a lying count allocates nothing.
    pub(super) fn count(&mut self, each: usize) -> Decoded<usize> {
        let count = usize::try_from(self.varint()?).map_err(|_| Malformed::Damaged)?;
        match count.checked_mul(each.max(1)) {
            Some(bytes) if bytes <= self.rest.len() => Ok(count),
            _ => Err(Malformed::Damaged),
        }
    }

    pub(super) fn bytes(&mut self) -> Decoded<&'a [u8]> {
        let len = self.count(1)?;
        self.take(len)
    }

    pub(super) fn text(&mut self) -> Decoded<&'a str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed::Damaged)
    }

    pub(super) fn end(&self) -> Decoded<()> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Malformed::Damaged)
        }
    }
}

impl Stored for u64 {
    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, *self);
    }
    fn decode(from: &mut Reader<'_>) -> Decoded<Self> {
        from.varint()
    }
}

impl Stored for u32 {
    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, u64::from(*self));
    }
    fn decode(from: &mut Reader<'_>) -> Decoded<Self> {
        u32::try_from(from.varint()?).map_err(|_| Malformed::Damaged)
    }
}

impl Stored for i64 {
    /// Zigzag: small numbers of either sign are short.
    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, ((self << 1) ^ (self >> 63)) as u64);
    }
    fn decode(from: &mut Reader<'_>) -> Decoded<Self> {
        let raw = from.varint()?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }
}

impl Stored for bool {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn decode(from: &mut Reader<'_>) -> Decoded<Self> {
        match from.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed::Damaged),
        }
    }
}

impl Stored for String {
    fn encode(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.as_bytes());
    }
    fn decode(from: &mut Reader<'_>) -> Decoded<Self> {
        from.text().map(str::to_owned)
    }
}

impl Stored for Box<str> {
    fn encode(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.as_bytes());
    }
    fn decode(from: &mut Reader<'_>) -> Decoded<Self> {
        from.text().map(Box::from)
    }
}

impl Stored for compact_str::CompactString {
    fn encode(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.as_bytes());
    }
    fn decode(from: &mut Reader<'_>) -> Decoded<Self> {
        from.text().map(Self::from)
    }
}

impl<T: Stored> Stored for Option<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.is_some().encode(out);
        if let Some(content) = self {
            content.encode(out);
        }
    }
    fn decode(from: &mut Reader<'_>) -> Decoded<Self> {
        Ok(match bool::decode(from)? {
            true => Some(T::decode(from)?),
            false => None,
        })
    }
}

impl<T: Stored> Stored for Vec<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.len() as u64);
        for item in self {
            item.encode(out);
        }
    }
    fn decode(from: &mut Reader<'_>) -> Decoded<Self> {
        let count = from.count(1)?;
        // Items are larger in memory than on disk: grow as they come, not by what the count says.
        let mut items = Vec::with_capacity(count.min(64));
        for _ in 0..count {
            items.push(T::decode(from)?);
        }
        Ok(items)
    }
}

impl<A: Stored, B: Stored> Stored for (A, B) {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
        self.1.encode(out);
    }
    fn decode(from: &mut Reader<'_>) -> Decoded<Self> {
        Ok((A::decode(from)?, B::decode(from)?))
    }
}
