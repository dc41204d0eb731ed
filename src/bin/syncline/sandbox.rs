//! `syncline sandbox`

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use syncline::fault::{Error, ErrorKind, Result};
use syncline_sandbox::{Config, Sandbox, Tls};

use crate::out;

/// Serve a local Salesforce-compatible CRM to try things on
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  syncline sandbox --listen 127.0.0.1:8801 --data ./crm
  syncline sandbox --tls --tls-authority ./authority.pem
  syncline sandbox --faults 'throttle=1%,lost=1%,lock=2%:Contact,seed=42'

Open its address in a browser to look at records and edit them as a sales rep would.
Faults: throttle, throttle_429, unavailable, bad_gateway, timeout_before, lost, cut, slow,
unauthorized, drain, lock, reject, fail_job; each with a share (1%, 0.01) or @500 for every 500th, and
options after colons (800ms, x5 times, +10 first let through, an object, an error code).")]
pub(crate) struct Args {
    /// Address and port; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8801")]
    listen: SocketAddr,
    /// Directory that keeps records over restarts; without it they are in memory
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Failures to inject
    #[arg(long, value_name = "SPEC")]
    faults: Option<String>,
    /// Speak TLS, with a certificate of an authority made for this sandbox
    #[arg(long)]
    tls: bool,
    /// Where to write the authority's certificate, for destination.ca_file; by default
    /// authority.pem in the data directory
    #[arg(long, value_name = "FILE", requires = "tls")]
    tls_authority: Option<PathBuf>,
    /// Name or address that the certificate is good for, beside localhost and 127.0.0.1
    #[arg(long, value_name = "NAME", requires = "tls")]
    tls_name: Vec<String>,
    /// The connected app's key
    #[arg(long, default_value = "sandbox")]
    client_id: String,
    /// The connected app's secret
    #[arg(long, default_value = "sandbox")]
    client_secret: String,
    /// API requests a day
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    api_limit: u64,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let config = Config {
        listen: args.listen,
        data: args.data.clone(),
        faults: args.faults,
        client_id: args.client_id.clone(),
        client_secret: args.client_secret.clone(),
        api_limit: args.api_limit,
        tls: args.tls.then(|| Tls {
            authority: args.tls_authority.clone(),
            names: args.tls_name.clone(),
        }),
        ..Config::default()
    };
    let (username, password) = (config.username.clone(), config.password.clone());
    let mut end = crate::run::Signals::new()?;
    let sandbox = Sandbox::start(config).await.map_err(refused)?;
    let url = sandbox.url();
    let kept = match &args.data {
        Some(dir) => format!("kept in {}", dir.display()),
        None => "in memory: gone when this ends".into(),
    };
    let authority = args.tls_authority.or_else(|| {
        let dir = args.data.as_ref().filter(|_| args.tls)?;
        Some(dir.join("authority.pem"))
    });
    let trust = match &authority {
        Some(path) => format!(", ca_file = \"{}\"", path.display()),
        None => String::new(),
    };
    out::text(&format!(
        "sandbox      {url}\n\
         page         {url}/  (look at records, edit them as a sales rep)\n\
         client       id {} · secret {}\n\
         user         {username} · password {password}\n\
         records      {kept}\n\
         config.toml  [destination] kind = \"salesforce\", url = \"{url}\"{trust}\n\
         {}Ctrl-C ends it.\n",
        args.client_id,
        args.client_secret,
        // Where it is in no file, it is here.
        sandbox
            .authority()
            .filter(|_| authority.is_none())
            .unwrap_or_default(),
    ))?;
    end.next().await;
    sandbox.stop().await;
    Ok(ExitCode::SUCCESS)
}

fn refused(error: syncline_sandbox::Error) -> Error {
    use syncline_sandbox::Error as E;
    let (kind, remedy) = match &error {
        E::Listen { .. } => (
            ErrorKind::Busy,
            "end what listens there, or choose another address with --listen",
        ),
        E::Tls(_) => (
            ErrorKind::Usage,
            "give --tls-name a name or an address, without scheme or port; if authority.key in the \
             data directory is damaged, delete it",
        ),
        E::Faults(_) => (ErrorKind::Usage, "`syncline sandbox --help` shows the form"),
        E::Journal { .. } => (
            ErrorKind::Machine,
            "move the directory aside and start with an empty one",
        ),
        _ => (
            ErrorKind::Machine,
            "check that --data names a directory that can be written",
        ),
    };
    Error::new(kind, error.to_string()).remedy(remedy)
}
