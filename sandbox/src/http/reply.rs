//! An answer before it is turned into bytes.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::Response;
use hyper::header::{HeaderName, HeaderValue};
use serde_json::{Value, json};

use crate::write::error::RecordError;

#[derive(Debug)]
enum Body {
    Empty,
    Json(Value),
    Text(String),
    Bytes(Bytes),
}

/// Status, headers and body of an answer.
#[derive(Debug)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Body,
}

impl Reply {
    /// JSON.
    pub(crate) fn json(status: u16, value: Value) -> Reply {
        let headers = vec![(
            "content-type".to_owned(),
            "application/json;charset=UTF-8".to_owned(),
        )];
        Reply {
            status,
            headers,
            body: Body::Json(value),
        }
    }

    /// No body.
    pub(crate) fn empty(status: u16) -> Reply {
        Reply {
            status,
            headers: Vec::new(),
            body: Body::Empty,
        }
    }

    /// Text of a type.
    pub(crate) fn text(status: u16, kind: &str, text: impl Into<String>) -> Reply {
        let headers = vec![("content-type".to_owned(), kind.to_owned())];
        Reply {
            status,
            headers,
            body: Body::Text(text.into()),
        }
    }

    /// A table.
    pub(crate) fn csv(table: Bytes) -> Reply {
        Reply {
            status: 200,
            headers: vec![(
                "content-type".to_owned(),
                "text/csv;charset=UTF-8".to_owned(),
            )],
            body: Body::Bytes(table),
        }
    }

    /// A page.
    pub(crate) fn html(text: impl Into<String>) -> Reply {
        Reply::text(200, "text/html; charset=UTF-8", text)
    }

    /// Error shape 1: an array with one error.
    pub(crate) fn error(status: u16, code: &str, message: &str) -> Reply {
        Reply::json(status, json!([{"message": message, "errorCode": code}]))
    }

    /// Error shape 1 for a refused record.
    pub(crate) fn refused(error: &RecordError) -> Reply {
        Reply::json(error.status(), error.in_array())
    }

    /// The answer of a route nothing is at.
    pub(crate) fn not_found() -> Reply {
        Reply::error(404, "NOT_FOUND", "The requested resource does not exist")
    }

    /// The answer of a route that does not take this method.
    pub(crate) fn wrong_method(method: &str, allowed: &str) -> Reply {
        let message = format!("HTTP Method '{method}' not allowed. Allowed are {allowed}");
        Reply::error(405, "METHOD_NOT_ALLOWED", &message).header("Allow", allowed)
    }

    /// The HTTP status.
    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    /// The headers that tell of what is in the body, as an object.
    pub(crate) fn shown_headers(&self) -> Value {
        let headers = self.headers.iter();
        let shown = headers.filter(|(name, _)| !name.eq_ignore_ascii_case("content-type"));
        let pairs = shown.map(|(name, value)| (name.clone(), Value::String(value.clone())));
        Value::Object(pairs.collect())
    }

    /// The body as a value: null if there is none.
    pub(crate) fn into_body(self) -> Value {
        match self.body {
            Body::Empty => Value::Null,
            Body::Json(value) => value,
            Body::Text(text) => Value::String(text),
            Body::Bytes(bytes) => Value::String(String::from_utf8_lossy(&bytes).into_owned()),
        }
    }

    /// The message of an error array.
    pub(crate) fn first_message(&self) -> Option<String> {
        match &self.body {
            Body::Json(value) => value[0]["message"].as_str().map(str::to_owned),
            _ => None,
        }
    }

    /// With one more header.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Reply {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The bytes to send.
    pub(crate) fn finish(self, pretty: bool, gzip: bool) -> Response<Bytes> {
        let bytes = match self.body {
            Body::Empty => Bytes::new(),
            Body::Text(text) => text.into(),
            Body::Bytes(bytes) => bytes,
            Body::Json(value) if pretty => format!("{value:#}").into(),
            Body::Json(value) => value.to_string().into(),
        };
        // Small answers gain nothing from compression.
        let packed = (gzip && bytes.len() > 1_000)
            .then(|| pack(&bytes))
            .flatten();
        let compressed = packed.is_some();
        let mut response = Response::new(packed.map_or(bytes, Bytes::from));
        if let Ok(status) = hyper::StatusCode::from_u16(self.status) {
            *response.status_mut() = status;
        }
        for (name, value) in self.headers {
            if let (Ok(name), Ok(value)) =
                (HeaderName::try_from(name), HeaderValue::try_from(value))
            {
                response.headers_mut().append(name, value);
            }
        }
        if compressed {
            response
                .headers_mut()
                .insert("content-encoding", HeaderValue::from_static("gzip"));
            // Another form of the same thing has a tag of its own.
            let tag = response.headers().get("etag").and_then(|t| t.to_str().ok());
            let tag = tag.and_then(|t| t.strip_suffix('"'));
            let tag = tag.and_then(|t| HeaderValue::try_from(format!("{t}--gzip\"")).ok());
            if let Some(tag) = tag {
                response.headers_mut().insert("etag", tag);
            }
        }
        response
    }
}

fn pack(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok()
}
