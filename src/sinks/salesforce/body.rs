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
    kind: &'static str,
    /// As it is; `None` where that is not kept.
    plain: Option<Bytes>,
    /// With gzip.
    packed: Option<Bytes>,
}

impl Body {
    /// JSON. Packs it if it is large enough, and if `pack`.
    pub(super) async fn json(plain: Bytes, pack: bool) -> Body {
        let packed = if !pack || plain.len() <= SMALL {
            None
        } else if plain.len() <= LONG {
            gzip(&plain)
        } else {
            let plain = plain.clone();
            let packed = tokio::task::spawn_blocking(move || gzip(&plain)).await;
            packed.ok().flatten()
        };
        Body {
            kind: "application/json; charset=UTF-8",
            plain: Some(plain),
            packed,
        }
    }

    /// CSV, which was packed as it was written, if `packed`.
    pub(super) fn csv(body: Bytes, packed: bool) -> Body {
        let (plain, packed) = match packed {
            true => (None, Some(body)),
            false => (Some(body), None),
        };
        Body {
            kind: "text/csv; charset=UTF-8",
            plain,
            packed,
        }
    }

    /// It is sent as it is from now on. False: it was before, or it is not known how it is.
    pub(super) fn unpack(&mut self) -> bool {
        self.plain.is_some() && self.packed.take().is_some()
    }

    /// Puts it into a request.
    pub(super) fn send(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        let request = request.header("content-type", self.kind);
        match (&self.packed, &self.plain) {
            (Some(packed), _) => request
                .header("content-encoding", "gzip")
                .body(packed.clone()),
            (None, Some(plain)) => request.body(plain.clone()),
            (None, None) => request,
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
