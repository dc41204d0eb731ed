//! A request as the handlers see it.

use std::collections::HashMap;
use std::io::Read;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use flate2::read::{GzDecoder, ZlibDecoder};
use hyper::http::request::Parts;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::reply::Reply;
use crate::bulk::MAX_FILE;

/// No body may be larger than this (SOAP states 50 MB), but for those of bulk jobs.
const MAX_BODY: usize = 50 << 20;
/// Longest URL (salesforce.md §14).
const MAX_URL: usize = 16_384;

/// One request.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) number: u64,
    /// Upper case; `_HttpMethod` is already applied.
    pub(crate) method: String,
    pub(crate) raw_path: String,
    /// Decoded, without empty ones.
    pub(crate) segments: Vec<String>,
    pub(crate) body: Bytes,
    /// How long a write is to take, with its rows locked.
    pub(crate) delay: Duration,
    pub(crate) base: String,
    raw_query: String,
    query: Vec<(String, String)>,
    headers: HashMap<String, String>,
}

/// Decodes `a=b&c=d`, where `+` is a space.
pub(crate) fn form(text: &str) -> Vec<(String, String)> {
    let decode = |part: &str| {
        let spaced = part.replace('+', " ");
        percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
    };
    let pairs = text.split('&').filter(|p| !p.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
        .collect()
}

fn segments(path: &str) -> Vec<String> {
    let segments = path.split('/').filter(|s| !s.is_empty());
    segments
        .map(|s| percent_decode_str(s).decode_utf8_lossy().into_owned())
        .collect()
}

impl Request {
    pub(crate) fn read(
        number: u64,
        address: SocketAddr,
        head: &Parts,
        body: Bytes,
    ) -> Result<Request, Reply> {
        let mut headers = HashMap::new();
        for (name, value) in &head.headers {
            headers.insert(
                name.as_str().to_owned(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            );
        }
        let raw_path = head.uri.path().to_owned();
        let raw_query = head.uri.query().unwrap_or("");
        if raw_path.len() + raw_query.len() > MAX_URL {
            return Err(Reply::text(414, "text/html", "<h1>URI Too Long</h1>"));
        }
        let query = form(raw_query);
        let over = query
            .iter()
            .find(|(name, _)| name == "_HttpMethod")
            .map(|(_, m)| m.to_uppercase());
        let method = match over {
            Some(method) if head.method == "POST" => method,
            _ => head.method.as_str().to_uppercase(),
        };
        let segments = segments(&raw_path);
        let base = match headers.get("host") {
            Some(host) => format!("http://{host}"),
            None => format!("http://{address}"),
        };
        let body = match headers
            .get("content-encoding")
            .map(|e| e.to_lowercase())
            .as_deref()
        {
            Some("gzip") => unpack(GzDecoder::new(&body[..]), max_body(&raw_path))?,
            Some("deflate") => unpack(ZlibDecoder::new(&body[..]), max_body(&raw_path))?,
            _ => body,
        };
        Ok(Request {
            number,
            method,
            raw_path,
            segments,
            body,
            delay: Duration::ZERO,
            base,
            raw_query: raw_query.to_owned(),
            query,
            headers,
        })
    }

    /// A request that came in the body of this one, with the same caller.
    pub(crate) fn inner(
        &self,
        method: &str,
        url: &str,
        headers: &[(String, String)],
        body: &Value,
    ) -> Request {
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        let body = match body {
            Value::Null => Bytes::new(),
            body => Bytes::from(body.to_string()),
        };
        let mut all = self.headers.clone();
        for conditional in [
            "if-match",
            "if-none-match",
            "if-modified-since",
            "if-unmodified-since",
        ] {
            all.remove(conditional);
        }
        all.extend(headers.iter().cloned());
        Request {
            number: self.number,
            method: method.to_owned(),
            raw_path: path.to_owned(),
            segments: segments(path),
            body,
            delay: Duration::ZERO,
            base: self.base.clone(),
            raw_query: query.to_owned(),
            query: form(query),
            headers: all,
        }
    }

    /// A segment of the path.
    pub(crate) fn path(&self, at: usize) -> Option<&str> {
        self.segments.get(at).map(String::as_str)
    }

    /// A query parameter.
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    /// A header, by its lower-case name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Whether the answer is to be indented.
    pub(crate) fn pretty(&self) -> bool {
        matches!(self.header("x-prettyprint"), Some("1" | "true"))
    }

    /// Whether the answer may be compressed.
    pub(crate) fn takes_gzip(&self) -> bool {
        self.header("accept-encoding")
            .is_some_and(|e| e.contains("gzip"))
    }

    /// The path with its query, as it came.
    pub(crate) fn target(&self) -> String {
        match self.raw_query.is_empty() {
            true => self.raw_path.clone(),
            false => format!("{}?{}", self.raw_path, self.raw_query),
        }
    }

    /// The parameters of a form in the body.
    pub(crate) fn form(&self) -> Vec<(String, String)> {
        form(&String::from_utf8_lossy(&self.body))
    }

    /// The body as JSON, or error shape 1.
    pub(crate) fn json(&self) -> Result<Value, Reply> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let message = format!(
                "{error} at [line:{}, column:{}]",
                error.line(),
                error.column()
            );
            Reply::error(400, "JSON_PARSER_ERROR", &message)
        })
    }
}

/// The longest body that a path takes.
pub(crate) fn max_body(path: &str) -> usize {
    match path.contains("/jobs/ingest") {
        true => MAX_FILE,
        false => MAX_BODY,
    }
}

/// The answer to a body that is longer.
pub(super) fn too_large() -> Reply {
    Reply::error(
        413,
        "EXCEEDED_MAX_SIZE_REQUEST",
        "request body is too large",
    )
}

fn unpack(decoder: impl Read, most: usize) -> Result<Bytes, Reply> {
    let mut out = Vec::new();
    match decoder.take(most as u64 + 1).read_to_end(&mut out) {
        Ok(_) if out.len() <= most => Ok(out.into()),
        Ok(_) => Err(too_large()),
        Err(_) => Err(Reply::error(
            400,
            "UNKNOWN_EXCEPTION",
            "the body is not in the stated encoding",
        )),
    }
}
