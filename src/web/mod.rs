//! The admin interface: health, readiness, metrics, and what a person asks of a running process.
//!
//! ```text
//!  GET  /health           200 while the process is alive
//!  GET  /ready            200 while there is progress, else 503 with the reasons
//!  GET  /metrics          for Prometheus
//!  ──── with `Authorization: Bearer <token>` ────
//!  GET  /status           report::Report
//!  GET  /pending          ?reason=&table=&code=&after=&limit=   a page of the shelf, without values
//!  GET  /pending/full     the same, with values, for an export
//!  GET  /pending/record   ?object=&external_id=      one entry, with its values
//!  POST /pending/retry    {"records": [{object, external_id}, …]}, or {"all": true} with any of
//!                         "reason", "table", "code"
//!  POST /pending/discard  the same
//!  POST /pending/release  the same, of what is held
//!  POST /pending/decide   the same, of conflicts, with "take": "source" or "crm", "always": bool
//!  GET  /kept             ?after=&limit=             records that people deleted and that stay so
//!  POST /kept/recreate    {"records": […]}           makes them again
//!  GET  /kept/fields      ?after=&limit=             fields that hold what people wrote; no values
//!  GET  /explain          ?object=&external_id=      what is known of a record; no values
//!  POST /backfill         {"table", "column"?, "where"?, "estimate"?}    reads existing rows
//!  POST /backfill/cancel  {"table"}
//! ```
//!
//! It is the last stage: it looks at all the others and none knows it. It listens from before the
//! process has looked at database and CRM, so that one that waits for them can be asked why.
//!
//! Invariants:
//! - Nothing here makes progress: wishes go to the loop as [`Command`]s, and it carries them out
//!   between two windows.
//! - The address is loopback unless the configuration says otherwise, and that is logged. Without the
//!   token nothing is told but counts, and nothing can be asked for.
//! - Values of rows leave by the two routes that are there for it, and by no error and no log.
//!
//! An error is `{"error": …, "remedy": …}` with 400, 401, 404, 409, or 503 when the process cannot say.

pub mod report;
pub mod shelf;
pub mod token;

pub mod ask;
pub mod backfill;
pub mod explain;
pub mod fields;
mod jobs;
pub mod kept_fields;
mod look;
mod progression;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use axum::Json;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use self::report::Basics;
use self::token::Token;
use crate::clock::Clock;
use crate::config::Config;
use crate::fault::{Error, ErrorKind, Result};
use crate::store::SledStore;
use crate::supervisor::start::Handle;

#[cfg(doc)]
use crate::supervisor::command::Command;

/// What the routes look at.
pub struct Seen {
    /// What is known from the beginning.
    pub basics: Basics,
    /// The store.
    pub store: Arc<SledStore>,
    /// The configuration.
    pub config: Config,
    /// Objects and external-id fields of the configuration.
    pub objects: Vec<(String, String)>,
    /// The running stages, once they run.
    pub handle: OnceLock<Handle>,
    token: Token,
}

impl Seen {
    /// Of a process with this configuration and store.
    ///
    /// # Errors
    /// When there is no token to be had.
    pub fn new(config: &Config, store: Arc<SledStore>) -> Result<Arc<Self>> {
        Ok(Arc::new(Seen {
            basics: basics(config),
            config: config.clone(),
            objects: shelf::objects(config),
            handle: OnceLock::new(),
            token: token::own(config)?,
            store,
        }))
    }

    /// How it goes.
    pub fn report(&self) -> report::Report {
        self.basics.running(&self.store, self.handle.get())
    }
}

/// What a configuration says without asking anybody.
pub fn basics(config: &Config) -> Basics {
    Basics {
        slot: config.source.slot.clone(),
        publication: config.source.publication.clone(),
        state: config.state.path.display().to_string(),
        since: Clock::System.now(),
    }
}

/// An admin interface that serves. Dropping it ends it.
#[derive(Debug)]
pub struct Admin {
    /// Where it listens.
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves at `listen`.
///
/// # Errors
/// When nobody can listen there.
pub async fn serve(listen: &str, seen: Arc<Seen>) -> Result<Admin> {
    let cannot = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::AddrInUse => Error::new(
            ErrorKind::Busy,
            format!(
                "another process listens on {listen} already, where the admin interface should"
            ),
        )
        .remedy("end it, or set admin.listen to another address (\"\" for no admin interface)"),
        _ => Error::new(
            ErrorKind::Usage,
            format!("the admin interface cannot listen on {listen:?}"),
        )
        .source(e)
        .remedy(
            "set admin.listen to an address and port of this machine, such as \"127.0.0.1:7878\"",
        ),
    };
    let listener = TcpListener::bind(listen).await.map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    if !address.ip().is_loopback() {
        tracing::warn!(
            %address,
            "the admin interface listens beyond this machine, without TLS: let only a proxy or a \
             private network reach it"
        );
    }
    let router = router(seen);
    let task = tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "the admin interface has ended");
        }
    });
    Ok(Admin { address, task })
}

fn router(seen: Arc<Seen>) -> Router {
    let guarded = Router::new()
        .route("/status", get(look::status))
        .route("/explain", get(explain::explain))
        .route("/kept/fields", get(kept_fields::list))
        .route("/pending/decide", post(ask::decide))
        .route("/pending", get(look::pending))
        .route("/pending/full", get(look::pending_full))
        .route("/pending/record", get(look::record))
        .route("/pending/retry", post(ask::retry))
        .route("/pending/discard", post(ask::discard))
        .route("/pending/release", post(ask::release))
        .route("/kept", get(look::kept))
        .route("/kept/recreate", post(ask::recreate))
        .route("/backfill", post(backfill::begin))
        .route("/backfill/cancel", post(backfill::cancel))
        .route_layer(from_fn_with_state(Arc::clone(&seen), guard));
    Router::new()
        .route("/health", get(|| async { Json(json!({ "alive": true })) }))
        .route("/ready", get(look::ready))
        .route("/metrics", get(look::metrics))
        .merge(guarded)
        .fallback(|| async { Refusal::new(StatusCode::NOT_FOUND, "there is no such page") })
        .with_state(seen)
}

async fn guard(State(seen): State<Arc<Seen>>, request: Request, next: Next) -> Response {
    let shown = request
        .headers()
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    match shown {
        Some(shown) if seen.token.is(shown) => next.run(request).await,
        _ => Refusal::new(StatusCode::UNAUTHORIZED, "the token is missing or wrong")
            .remedy(
                "send `Authorization: Bearer <token>` with admin.token, or the content of \
                 admin.token in the state directory",
            )
            .into_response(),
    }
}

/// An answer that is none.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    error: String,
    remedy: Option<String>,
}

impl Refusal {
    fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Refusal {
            status,
            error: error.into(),
            remedy: None,
        }
    }

    fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    fn starting() -> Self {
        Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the process is still starting: nothing can be asked of it yet",
        )
        .remedy("look at its log, and ask again once `syncline status` says that it runs")
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Refusal {
            status: StatusCode::SERVICE_UNAVAILABLE,
            error: error.to_string(),
            remedy: error.remedy.map(|r| r.into_owned()),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({ "error": self.error, "remedy": self.remedy });
        (self.status, Json(body)).into_response()
    }
}
