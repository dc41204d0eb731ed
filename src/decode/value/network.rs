//! Network addresses.

use std::net::IpAddr;

use super::{Read, decimal, utf8};

/// `inet` and `cidr`: an address, perhaps with the length of its network prefix.
pub(super) fn inet(text: &[u8]) -> Read<&str> {
    let whole = utf8(text)?;
    let (address, prefix) = match whole.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (whole, None),
    };
    let address: IpAddr = address.parse().map_err(|_| "it is not an address")?;
    if let Some(prefix) = prefix {
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let digits = prefix.bytes().all(|b| b.is_ascii_digit());
        if !digits || decimal(prefix.as_bytes()).is_none_or(|len| len > longest) {
            return Err("its prefix length does not fit the address");
        }
    }
    Ok(whole)
}
