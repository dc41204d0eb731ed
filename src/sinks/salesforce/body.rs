//! A request's body: packed where that saves more than it costs.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

/// Bodies up to this many bytes go as they are: they fit into one packet or two.
const SMALL: usize = 1 << 10;
/// Packing more bytes than these takes longer than a task may keep a thread.
const LONG: usize = 256 << 10;

/// A body.
#[derive(Clone, Debug)]
pub(super) struct Body {
    /// As it is.
    plain: Bytes,
    /// With gzip.
    packed: Option<Bytes>,
}

impl Body {
    /// Packs it if it is large enough, and if `pack`.
    pub(super) async fn new(plain: Bytes, pack: bool) -> Body {
        let packed = if !pack || plain.len() <= SMALL {
            None
        } else if plain.len() <= LONG {
            gzip(&plain)
        } else {
            let plain = plain.clone();
            let packed = tokio::task::spawn_blocking(move || gzip(&plain)).await;
            packed.ok().flatten()
        };
        Body { plain, packed }
    }

    /// It is sent packed.
    pub(super) fn is_packed(&self) -> bool {
        self.packed.is_some()
    }

    /// It is sent as it is from now on.
    pub(super) fn unpack(&mut self) {
        self.packed = None;
    }

    /// Puts it into a request.
    pub(super) fn send(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        let request = request.header("content-type", "application/json; charset=UTF-8");
        match &self.packed {
            Some(packed) => request
                .header("content-encoding", "gzip")
                .body(packed.clone()),
            None => request.body(self.plain.clone()),
        }
    }
}

/// None where it does not become smaller.
fn gzip(plain: &[u8]) -> Option<Bytes> {
    let mut out = GzEncoder::new(Vec::with_capacity(plain.len() / 4), Compression::fast());
    // A list of bytes takes what it is given.
    out.write_all(plain).ok()?;
    let packed = out.finish().ok()?;
    (packed.len() < plain.len()).then(|| packed.into())
}
