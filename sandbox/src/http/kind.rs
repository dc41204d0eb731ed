//! What kind of call a request is, for the counters, and how many records it is about.

use super::request::Request;

/// The kind of a request below `/services/data/vNN.0`.
pub(super) fn of(request: &Request) -> &'static str {
    let tail: Vec<String> = request
        .segments
        .iter()
        .skip(3)
        .map(|s| s.to_lowercase())
        .collect();
    let tail: Vec<&str> = tail.iter().map(String::as_str).collect();
    let reads = matches!(request.method.as_str(), "GET" | "HEAD");
    match (request.method.as_str(), tail.as_slice()) {
        (_, []) => "root",
        (_, ["limits", ..]) => "limits",
        (_, ["query" | "queryall"]) => "query",
        (_, ["query" | "queryall", ..]) => "query more",
        (_, ["tooling", ..]) => "tooling",
        (_, ["composite", "sobjects"]) => match request.method.as_str() {
            "POST" => "collections create",
            "PATCH" => "collections update",
            _ => "collections delete",
        },
        ("PATCH", ["composite", "sobjects", _, _]) => "collections upsert",
        (_, ["composite", "sobjects", ..]) => "collections retrieve",
        (_, ["composite"]) => "composite",
        (_, ["composite", "graph"]) => "composite graph",
        (_, ["composite", "batch"]) => "composite batch",
        (_, ["sobjects"]) => "describe global",
        (_, ["sobjects", _, "describe"]) => "describe",
        (_, ["sobjects", _, "deleted" | "updated"]) => "replication",
        (_, ["sobjects", ..]) if reads => "row read",
        (_, ["sobjects", ..]) => "row write",
        (method, ["jobs", which @ ("ingest" | "query"), rest @ ..]) => bulk(method, which, rest),
        _ => "other",
    }
}

fn bulk(method: &str, which: &str, rest: &[&str]) -> &'static str {
    match (which, method, rest) {
        ("ingest", "POST", []) => "bulk create",
        ("ingest", "PUT", _) => "bulk upload",
        ("ingest", "PATCH", _) => "bulk close",
        ("ingest", "GET", [_, _]) => "bulk results",
        ("ingest", "GET", _) => "bulk status",
        ("ingest", ..) => "bulk delete",
        (_, "POST", _) => "bulk query create",
        (_, "GET", [_, _]) => "bulk query results",
        (_, "GET", _) => "bulk query status",
        _ => "bulk query other",
    }
}

/// How many records a request names: the elements of `records` or `ids`, or one for a row.
pub(super) fn records(request: &Request, kind: &str) -> u64 {
    match kind {
        "row read" | "row write" => 1,
        "collections delete" => listed(request.query("ids")),
        "collections retrieve" if request.query("ids").is_some() => listed(request.query("ids")),
        "collections retrieve" => elements(request, "ids"),
        "collections create" | "collections update" | "collections upsert" => {
            elements(request, "records")
        }
        _ => 0,
    }
}

fn listed(ids: Option<&str>) -> u64 {
    let ids = ids.unwrap_or("").split(',');
    ids.filter(|id| !id.trim().is_empty()).count() as u64
}

fn elements(request: &Request, key: &str) -> u64 {
    #[derive(serde::Deserialize)]
    struct Lists {
        #[serde(default)]
        records: Vec<serde::de::IgnoredAny>,
        #[serde(default)]
        ids: Vec<serde::de::IgnoredAny>,
    }
    let lists: Option<Lists> = serde_json::from_slice(&request.body).ok();
    lists.map_or(0, |lists| match key {
        "ids" => lists.ids.len() as u64,
        _ => lists.records.len() as u64,
    })
}
