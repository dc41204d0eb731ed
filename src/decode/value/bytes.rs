//! Hexadecimal texts: bytea and uuid.

use super::Read;

pub(super) fn bytea(text: &[u8]) -> Read<Vec<u8>> {
    let Some(hex) = text.strip_prefix(b"\\x") else {
        return Err("it is not in hexadecimal form (the session needs bytea_output = hex)");
    };
    let (pairs, odd) = hex.as_chunks::<2>();
    if !odd.is_empty() {
        return Err("it has an odd number of hexadecimal digits");
    }
    pairs.iter().map(pair).collect()
}

pub(super) fn uuid(text: &[u8]) -> Read<[u8; 16]> {
    let text: &[u8; 36] = text
        .try_into()
        .map_err(|_| "it is not 36 characters long")?;
    let mut uuid = [0; 16];
    let mut at = 0;
    for byte in &mut uuid {
        if matches!(at, 8 | 13 | 18 | 23) {
            if text.get(at) != Some(&b'-') {
                return Err("its hyphens are not where they belong");
            }
            at += 1;
        }
        match text.get(at..).and_then(|rest| rest.first_chunk()) {
            Some(digits) => *byte = pair(digits)?,
            None => return Err("it is not 36 characters long"),
        }
        at += 2;
    }
    Ok(uuid)
}

fn pair(digits: &[u8; 2]) -> Read<u8> {
    let [high, low] = digits.map(|digit| NIBBLE.get(usize::from(digit)).copied().unwrap_or(255));
    if high > 15 || low > 15 {
        return Err("it holds something else than hexadecimal digits");
    }
    Ok(high << 4 | low)
}

/// The value of each hexadecimal digit; 255 for every other byte.
const NIBBLE: [u8; 256] = {
    let mut table = [255; 256];
    let mut digit = 0_u8;
    while digit < 16 {
        let (lower, upper) = if digit < 10 {
            (b'0' + digit, b'0' + digit)
        } else {
            (b'a' + digit - 10, b'A' + digit - 10)
        };
        table[lower as usize] = digit;
        table[upper as usize] = digit;
        digit += 1;
    }
    table
};
