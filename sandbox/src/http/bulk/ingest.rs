//! Jobs that write.

use bytes::Bytes;
use serde_json::{Map, Value};

use super::{add, body, choice, delete, format, head, job, list, multipart, only, patch, refuse};
use crate::app::App;
use crate::bulk::{self, Job, Operation, Results, State};
use crate::http::auth::Caller;
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::store::Store;
use crate::usage::Daily;

/// The most characters of a file that comes with the job.
const MAX_CONTENT: usize = 100_000;

/// `…/jobs/ingest[/…]`
pub(super) async fn route(
    app: &App,
    request: &Request,
    caller: Caller,
    version: u32,
    rest: &[&str],
) -> Result<Reply, Reply> {
    let word = rest.get(1).map(|word| word.to_lowercase());
    match (request.method.as_str(), rest, word.as_deref()) {
        ("POST", [], _) => create(app, request, caller, version),
        ("GET" | "HEAD", [], _) => list(app, request, version, false),
        ("GET" | "HEAD", [id], _) => Ok(head(job(app, id, false)?.info())),
        ("PATCH", [id], _) => patch(app, request, &job(app, id, false)?),
        ("DELETE", [id], _) => delete(app, &job(app, id, false)?),
        ("PUT", [id, _], Some("batches")) => upload(app, request, &job(app, id, false)?),
        ("GET" | "HEAD", [id, _], Some(word)) => {
            let kind = match word {
                "successfulresults" => Results::Successful,
                "failedresults" => Results::Failed,
                "unprocessedrecords" => Results::Unprocessed,
                _ => return Err(Reply::not_found()),
            };
            results(app, &job(app, id, false)?, kind).await
        }
        (_, [] | [_] | [_, _], _) => Err(Reply::wrong_method(
            &request.method,
            "GET,POST,PUT,PATCH,DELETE,HEAD",
        )),
        _ => Err(Reply::not_found()),
    }
}

fn create(app: &App, request: &Request, caller: Caller, version: u32) -> Result<Reply, Reply> {
    let kind = request.header("content-type").unwrap_or("");
    let (asked, content) = match multipart::boundary(kind) {
        Some(boundary) => {
            let parts = multipart::read(&request.body, &boundary)
                .ok_or_else(|| refuse("InvalidJob", "The multipart body cannot be read"))?;
            let part = |name: &str| {
                parts
                    .iter()
                    .find(|p| p.name == name)
                    .map(|p| p.body.clone())
            };
            let (Some(asked), Some(content)) = (part("job"), part("content")) else {
                let message = "A multipart body has the parts job and content";
                return Err(refuse("InvalidJob", message));
            };
            if String::from_utf8_lossy(&content).chars().count() > MAX_CONTENT {
                let message =
                    "The content may have 100000 characters; upload more in a request of its own";
                return Err(refuse("ClientInputError", message));
            }
            let Ok(Value::Object(asked)) = serde_json::from_slice(&asked) else {
                return Err(super::unreadable("The job must be a JSON object"));
            };
            (asked, Some(content))
        }
        None => (body(request)?, None),
    };
    let made = read(&mut app.store(), &asked, caller, version)?;
    if app.usage.daily(Daily::BulkBatches, app.clock.now()).1 == 0 {
        return Err(refuse("ExceededQuota", "ApiBatchItems Limit exceeded."));
    }
    let id = made.id;
    let shown = made.summary();
    add(app, made);
    let Some(content) = content else {
        return Ok(head(shown));
    };
    keep(app, id, content)?;
    let job = bulk::change(app, id, |job| {
        job.uploaded = true;
        job.state = State::UploadComplete;
    });
    app.bulk.wake(id);
    Ok(head(job.ok_or_else(Reply::not_found)?.summary()))
}

/// Reads what kind of job is asked for.
fn read(
    store: &mut Store,
    body: &Map<String, Value>,
    caller: Caller,
    version: u32,
) -> Result<Job, Reply> {
    let known = [
        "object",
        "operation",
        "externalIdFieldName",
        "assignmentRuleId",
        "contentType",
        "lineEnding",
        "columnDelimiter",
        "concurrencyMode",
    ];
    only(body, &known)?;
    let operation: Option<Operation> = choice(body, "operation")?;
    let operation = operation.filter(|operation| !operation.reads());
    let operation = operation.ok_or_else(|| {
        let message = "operation must be insert, update, upsert, delete or hardDelete";
        refuse("InvalidJob", message)
    })?;
    let (delimiter, line_ending) = format(body)?;
    let named = super::text(body, "object")?
        .ok_or_else(|| refuse("InvalidJob", "The object of the job is missing"))?;
    let object = store.schema.find(&named).ok_or_else(|| {
        let message = format!("Entity '{named}' is not supported by the Bulk API.");
        refuse("InvalidEntity", &message)
    })?;
    if operation == Operation::HardDelete && !store.rights(caller.viewer()).bulk_hard_delete {
        let message = "hardDelete operation requires special user profile permission, please contact your system administrator";
        return Err(refuse("FeatureNotEnabled", message));
    }
    let definition = store.schema.object(object);
    let given = super::text(body, "externalIdFieldName")?;
    let key = match (operation, given) {
        (Operation::Upsert, None) => {
            let message = "externalIdFieldName is needed for an upsert";
            return Err(refuse("InvalidJob", message));
        }
        (Operation::Upsert, Some(name)) => {
            let usable = definition.field(&name).filter(|at| {
                let field = &definition.fields[*at];
                field.usable_as_key() && store.sees(caller.viewer(), object, *at, field)
            });
            let Some(at) = usable else {
                let message = format!(
                    "Field name provided, {name} does not match an External ID, Salesforce Id, or indexed field for {}",
                    definition.name
                );
                return Err(refuse("InvalidJob", &message));
            };
            Some(definition.fields[at].name.clone())
        }
        _ => None,
    };
    let assignment_rule = super::text(body, "assignmentRuleId")?;
    if assignment_rule.is_some() && !["Case", "Lead"].contains(&definition.name.as_str()) {
        let message = "assignmentRuleId is for Case and Lead only";
        return Err(refuse("InvalidJob", message));
    }
    let object = definition.name.clone();
    let now = store.clock.now();
    Ok(Job {
        id: store.next_id_of("750"),
        operation,
        object,
        key,
        query: None,
        assignment_rule,
        delimiter,
        line_ending,
        version,
        created_by: caller.user,
        created: now,
        stamp: now,
        state: State::Open,
        uploaded: false,
        error: None,
        processed: 0,
        failed: 0,
        batches: 0,
        total_ms: 0,
        active_ms: 0,
    })
}

fn keep(app: &App, id: crate::ids::Id, file: Bytes) -> Result<bool, Reply> {
    app.bulk
        .files
        .put(id, file)
        .map_err(|e| Reply::error(500, "UNKNOWN_EXCEPTION", &e.to_string()))
}

/// The one upload of a job.
fn upload(app: &App, request: &Request, job: &Job) -> Result<Reply, Reply> {
    let kind = request.header("content-type").unwrap_or("");
    if !kind.to_lowercase().starts_with("text/csv") {
        let message =
            format!("Content-Type header specified in HTTP request is not supported: {kind}");
        return Err(Reply::error(415, "UNSUPPORTED_MEDIA_TYPE", &message));
    }
    if job.state != State::Open {
        let message = format!(
            "Uploading to a Job that is {} not allowed",
            job.state.name()
        );
        return Err(refuse("InvalidJobState", &message));
    }
    if !keep(app, job.id, request.body.clone())? {
        let message = format!(
            "Found multiple contents for job: <{}>, please 'Close' / 'Abort' / 'Delete' the current \
             Job then create a new Job and make sure you only do 'PUT' once on a given Job.",
            job.id
        );
        return Err(refuse("ClientInputError", &message));
    }
    bulk::change(app, job.id, |job| job.uploaded = true);
    Ok(Reply::empty(201))
}

async fn results(app: &App, job: &Job, kind: Results) -> Result<Reply, Reply> {
    if !job.state.ended() {
        let message = format!("A job that is {} has no results yet", job.state.name());
        return Err(refuse("InvalidJobState", &message));
    }
    // A large file takes a while: others go on meanwhile.
    tokio::task::yield_now().await;
    match bulk::render(app, job, kind) {
        Ok(table) => Ok(Reply::csv(table)),
        Err(error) => Err(Reply::error(500, "UNKNOWN_EXCEPTION", &error.to_string())),
    }
}
