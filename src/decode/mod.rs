//! Bytes to typed changes.
