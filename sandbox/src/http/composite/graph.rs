//! Composite graphs: up to 75 of them, each of which stands or falls alone.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Answered, Refused, Sub, all_or_none, list, subs, whole};
use crate::app::App;
use crate::http::auth::Caller;
use crate::http::reply::Reply;
use crate::http::request::Request;

const MOST_GRAPHS: usize = 75;
const MOST_NODES: usize = 500;
const DEPTH: usize = 15;
const DIFFERENT: usize = 15;
/// After so many failed graphs the rest is not tried.
const MOST_FAILED: usize = 14;

struct Graph {
    id: String,
    subs: Vec<Sub>,
    order: Vec<usize>,
}

fn exceeded(what: &str) -> Refused {
    ("LIMIT_EXCEEDED", what.to_owned())
}

/// The subrequests in an order in which each comes after those it refers to, and otherwise
/// as given.
fn ordered(subs: &[Sub]) -> Result<Vec<usize>, Refused> {
    let by_name: HashMap<&str, usize> = subs
        .iter()
        .enumerate()
        .map(|(at, sub)| (sub.reference.as_str(), at))
        .collect();
    let needs: Vec<Vec<usize>> = subs
        .iter()
        .map(|sub| {
            let names = sub.needs();
            let known = names.iter().filter_map(|name| by_name.get(name.as_str()));
            known.copied().collect()
        })
        .collect();
    let mut depth: Vec<Option<usize>> = vec![None; subs.len()];
    let mut order = Vec::with_capacity(subs.len());
    while order.len() < subs.len() {
        let ready = (0..subs.len()).find(|at| {
            depth[*at].is_none() && needs[*at].iter().all(|need| depth[*need].is_some())
        });
        let Some(at) = ready else {
            let message = "The subrequests of a graph refer to each other in a circle".to_owned();
            return Err(("INVALID_INPUT", message));
        };
        let below = needs[at].iter().filter_map(|need| depth[*need]).max();
        let level = below.unwrap_or(0) + 1;
        if level > DEPTH {
            return Err(exceeded("A graph can be at most 15 levels deep"));
        }
        depth[at] = Some(level);
        order.push(at);
    }
    Ok(order)
}

fn read(body: &Value) -> Result<Vec<Graph>, Refused> {
    let wrong = |what: &str| ("INVALID_INPUT", what.to_owned());
    let given = body
        .get("graphs")
        .and_then(Value::as_array)
        .filter(|list| !list.is_empty())
        .ok_or_else(|| wrong("graphs must be a list of graphs"))?;
    if given.len() > MOST_GRAPHS {
        return Err(exceeded("A payload can have at most 75 graphs"));
    }
    let mut graphs: Vec<Graph> = Vec::with_capacity(given.len());
    let mut nodes = 0;
    for graph in given {
        let id = graph.get("graphId").and_then(Value::as_str).unwrap_or("");
        if id.is_empty() || graphs.iter().any(|other| other.id == id) {
            return Err(wrong("Each graph needs a graphId of its own"));
        }
        let subs = subs(graph.get("compositeRequest"))?;
        nodes += subs.len();
        if nodes > MOST_NODES {
            return Err(exceeded("A payload can have at most 500 nodes"));
        }
        let rows = |sub: &&Sub| sub.is_served() && !sub.is_large() && sub.tail().len() > 1;
        if let Some(sub) = subs.iter().find(|sub| !rows(sub)) {
            let what = format!("The resource of node {} is not supported", sub.reference);
            return Err(wrong(&what));
        }
        let different: HashSet<(String, String, String)> = subs
            .iter()
            .map(|sub| {
                let version = sub.url.split('/').nth(3).unwrap_or("").to_owned();
                let object = sub.tail().into_iter().nth(1).unwrap_or_default();
                (version, sub.method.clone(), object)
            })
            .collect();
        if different.len() > DIFFERENT {
            return Err(exceeded("A graph can have at most 15 different nodes"));
        }
        graphs.push(Graph {
            id: id.to_owned(),
            order: ordered(&subs)?,
            subs,
        });
    }
    Ok(graphs)
}

/// `…/composite/graph`
pub(super) async fn run(app: &Arc<App>, request: &Request, caller: Caller) -> Result<Reply, Reply> {
    let graphs = read(&request.json()?).map_err(whole)?;
    let mut out = Vec::with_capacity(graphs.len());
    let mut failed = 0;
    for graph in &graphs {
        let (answered, done) = if failed >= MOST_FAILED {
            let halted = graph.subs.iter().map(|_| {
                Answered::halted("Processing was halted: too many graphs of the request failed.")
            });
            (halted.collect(), false)
        } else {
            all_or_none(app, request, caller, &graph.subs, &graph.order).await
        };
        failed += usize::from(!done);
        out.push(json!({
            "graphId": graph.id, "isSuccessful": done,
            "graphResponse": {"compositeResponse": list(&graph.subs, answered)},
        }));
    }
    Ok(Reply::json(200, json!({"graphs": out})))
}
