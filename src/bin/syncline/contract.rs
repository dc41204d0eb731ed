//! `syncline contract export|check`

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use serde_json::json;
use syncline::capture::{CatalogTable, Conninfo, Sql, TableNotes};
use syncline::config::Config;
use syncline::decode::Types;
use syncline::fault::{Error, ErrorKind, Finding, Result, Severity};
use syncline::mapping::Mapping;
use syncline::mapping::contract::{
    Contract, Contracts, Source, against_crm, against_database, against_mapping, build, dictionary,
};
use syncline::supervisor::contracts::{directory, read};
use syncline::supervisor::start::{Survey, compile_survey, connect, reader, survey};
use tracing_subscriber::filter::LevelFilter;

use crate::options::ConfigArgs;
use crate::{exit, logging, out};

/// How long the CRM may take to describe its objects.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the tables were agreed to be: export it, check it, explain it
#[derive(clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Export(Export),
    Check(Check),
}

/// Write one JSON Schema a table, and the data dictionary
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  syncline contract export
  syncline contract export --dir db/contracts --dictionary

A file whose content is the same is left alone; where it differs, its version rises by one. With
--dictionary, the data dictionary is written as well: Markdown, by default dictionary.md beside the
contracts, - for standard output.")]
struct Export {
    #[command(flatten)]
    config: ConfigArgs,
    /// The directory [default: contract.path, else contracts]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Write the data dictionary too
    #[arg(long, value_name = "FILE", num_args = 0..=1)]
    dictionary: Option<Option<PathBuf>>,
}

/// Compare contracts, database and CRM
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  syncline contract check
  syncline contract check --database-only --set source.url=postgres://ci@127.0.0.1/app --json

Exit code 0 when everything that the mapping needs is as it was agreed, 3 when something has drifted.
It changes nothing and needs no running process. --database-only asks the CRM nothing and needs no
credentials for it: for the CI of the team that owns the database.

JSON: {\"ok\": bool, \"drift\": n, \"notes\": n,
       \"findings\": [{\"severity\": \"problem|note\", \"place\", \"what\", \"remedy\"}]}")]
struct Check {
    #[command(flatten)]
    config: ConfigArgs,
    /// The directory [default: contract.path, else contracts]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Leave the CRM alone
    #[arg(long)]
    database_only: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    logging::start(logging::Form::Human, LevelFilter::ERROR);
    match args.command {
        Command::Export(args) => Box::pin(export(args)).await,
        Command::Check(args) => Box::pin(check(args)).await,
    }
}

/// What is known of the source, by the table's name.
struct Sources {
    tables: BTreeMap<String, (CatalogTable, TableNotes)>,
    types: Types,
}

impl Sources {
    async fn new(sql: &Sql, tables: Vec<Option<CatalogTable>>, types: Types) -> Result<Self> {
        let tables: Vec<CatalogTable> = tables.into_iter().flatten().collect();
        let oids: Vec<u32> = tables.iter().map(|t| t.oid).collect();
        let mut notes = sql.dictionary(&oids).await?;
        let named = |t: CatalogTable| {
            let said = notes.remove(&t.oid).unwrap_or_default();
            (format!("{}.{}", t.schema, t.name), (t, said))
        };
        Ok(Sources {
            tables: tables.into_iter().map(named).collect(),
            types,
        })
    }

    fn contract(&self, name: &str, mapping: Option<&Mapping>, crm: bool) -> Option<Contract> {
        let (table, notes) = self.tables.get(name)?;
        let source = Source {
            table,
            notes: Some(notes),
            types: &|oid, _| self.types.value_type(oid),
            underlying: &|oid, typmod| self.types.underlying(oid, typmod),
        };
        let rules = mapping.and_then(|m| m.by_name(name));
        Some(build(source, rules.map(|r| &**r), crm))
    }
}

async fn look(config: &Config) -> Result<Survey> {
    let looked = async { survey(config, &connect(config)?).await };
    match tokio::time::timeout(PATIENCE, looked).await {
        Ok(survey) => survey,
        Err(_) => Err(Error::new(
            ErrorKind::DestinationUnreachable,
            format!(
                "the CRM did not describe its objects in {} s",
                PATIENCE.as_secs()
            ),
        )
        .remedy("try again when it answers, or check the database alone: --database-only")),
    }
}

async fn export(args: Export) -> Result<ExitCode> {
    let config = args.config.load()?.config;
    let dir = args.dir.unwrap_or_else(|| directory(&config));
    let progress = out::Step::new(true);
    progress.at("looking at both sides");
    let survey = look(&config).await?;
    progress.end();
    let reader = reader(&config)?;
    let compiled = compile_survey(&config, &survey, None, &*reader).await?;
    let Some(mapping) = compiled.mapping else {
        return Err(Error::new(
            ErrorKind::Usage,
            "the configuration does not fit: there is nothing to agree on yet",
        )
        .remedy("`syncline check` says what is wrong"));
    };
    let crm = survey.crm.is_some();
    let sources = Sources::new(&survey.sql, survey.tables, survey.types).await?;
    let before = match dir.exists() {
        true => read(&dir)?,
        false => Contracts::new(),
    };
    fs::create_dir_all(&dir).map_err(|e| unwritable(&dir, e))?;
    let mut told = String::new();
    let mut entries = Vec::new();
    for name in config.tables.keys() {
        let Some(now) = sources.contract(name, Some(&mapping), crm) else {
            continue;
        };
        let file = dir.join(Contract::file_name(name));
        let was = before.get(name.as_str());
        let line = match now.clone().after(was) {
            None => "unchanged".to_owned(),
            Some(next) => {
                write(&file, &next.text())?;
                format!("version {}", next.terms.version)
            }
        };
        told.push_str(&format!("{}: {line}\n", file.display()));
        if let Some((table, notes)) = sources.tables.get(name) {
            entries.push((table, notes, now));
        }
    }
    if let Some(file) = args.dictionary {
        let entries: Vec<_> = entries.iter().map(|(t, n, c)| (*t, *n, c)).collect();
        let text = dictionary(&mapping, &entries);
        match file.unwrap_or_else(|| dir.join("dictionary.md")) {
            file if file == Path::new("-") => told = text,
            file => {
                write(&file, &text)?;
                told.push_str(&format!("{}: the data dictionary\n", file.display()));
            }
        }
    }
    out::text(&told)?;
    Ok(ExitCode::SUCCESS)
}

fn unwritable(path: &Path, e: std::io::Error) -> Error {
    Error::new(
        ErrorKind::Machine,
        format!("cannot write {}", path.display()),
    )
    .source(e)
}

/// All of it or nothing: a CI job may read while we write.
fn write(path: &Path, text: &str) -> Result<()> {
    if fs::read_to_string(path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    fs::write(&new, text)
        .and_then(|()| fs::rename(&new, path))
        .map_err(|e| unwritable(path, e))
}

async fn check(mut args: Check) -> Result<ExitCode> {
    if args.database_only {
        // Nothing is asked of the CRM, so no credentials are asked of the configuration.
        let discard = ("destination.kind".to_owned(), "discard".to_owned());
        args.config.set.push(discard);
    }
    let config = args.config.load()?.config;
    let contracts = read(&args.dir.unwrap_or_else(|| directory(&config)))?;
    if contracts.is_empty() {
        return Err(
            Error::new(ErrorKind::Usage, "there is no contract to check")
                .remedy("syncline contract export"),
        );
    }
    let progress = out::Step::new(!args.json);
    progress.at("looking at the database");
    let mut findings = match args.database_only {
        true => database_only(&config, &contracts).await?,
        false => both_sides(&config, &contracts).await?,
    };
    progress.end();
    findings.sort_by_key(|f| std::cmp::Reverse(f.severity));
    let drift = findings
        .iter()
        .filter(|f| f.severity == Severity::Problem)
        .count();
    let notes = findings.len() - drift;
    if args.json {
        out::json(&json!({
            "ok": drift == 0,
            "drift": drift,
            "notes": notes,
            "findings": findings,
        }))?;
    } else {
        print(&findings, drift, contracts.len())?;
    }
    Ok(match drift {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(exit::ATTENTION),
    })
}

async fn database_only(config: &Config, contracts: &Contracts) -> Result<Vec<Finding>> {
    let sql = Sql::connect(&Conninfo::from_config(&config.source)?).await?;
    let names: Vec<String> = contracts.keys().map(ToString::to_string).collect();
    let tables = sql.tables(&names, &config.source.publication).await?;
    let types = Types::new(sql.types().await?);
    let sources = Sources::new(&sql, tables, types).await?;
    let mut findings = Vec::new();
    for (name, contract) in contracts {
        database(&mut findings, name, contract, &sources);
    }
    Ok(findings)
}

async fn both_sides(config: &Config, contracts: &Contracts) -> Result<Vec<Finding>> {
    let survey = look(config).await?;
    let reader = reader(config)?;
    let compiled = compile_survey(config, &survey, None, &*reader).await?;
    let crm = survey.crm;
    let sources = Sources::new(&survey.sql, survey.tables, survey.types).await?;
    let mut findings = Vec::new();
    for name in config.tables.keys() {
        let Some(contract) = contracts.get(name.as_str()) else {
            findings.push(Finding {
                severity: Severity::Problem,
                place: format!("tables.\"{name}\""),
                what: "the table has no contract".into(),
                remedy: "syncline contract export".into(),
            });
            continue;
        };
        database(&mut findings, name, contract, &sources);
        if let Some(crm) = &crm {
            findings.extend(against_crm(contract, crm.get(&*contract.terms.object)));
        }
        let mapping = compiled.mapping.as_ref();
        let rules = mapping.and_then(|m| m.by_name(name));
        let now = sources.contract(name, mapping, crm.is_some());
        if let (Some(rules), Some(now)) = (rules, now) {
            findings.extend(against_mapping(contract, &now, rules));
        }
    }
    for name in contracts.keys() {
        if !config.tables.contains_key(&**name) {
            findings.push(Finding {
                severity: Severity::Note,
                place: format!("tables.\"{name}\""),
                what: "there is a contract, but the table is not configured".into(),
                remedy: String::new(),
            });
        }
    }
    // Why the mapping would not start, unless the same place has its finding already.
    for finding in compiled.findings {
        let told = findings
            .iter()
            .any(|f| f.severity == Severity::Problem && f.place == finding.place);
        if finding.severity == Severity::Problem && !told {
            findings.push(finding);
        }
    }
    Ok(findings)
}

fn database(findings: &mut Vec<Finding>, name: &str, contract: &Contract, sources: &Sources) {
    match sources.contract(name, None, false) {
        Some(now) => findings.extend(against_database(contract, &now)),
        None => findings.push(Finding {
            severity: Severity::Problem,
            place: format!("tables.\"{name}\""),
            what: "the table is gone, or our role cannot see it any more".into(),
            remedy: "bring it back; after a rename, change the configuration and export the contract anew".into(),
        }),
    }
}

fn print(findings: &[Finding], drift: usize, contracts: usize) -> Result<()> {
    let titles = [(Severity::Problem, "Drift"), (Severity::Note, "Notes")];
    let mut text = out::findings(findings, &titles);
    text.push_str(&match drift {
        0 => format!("{} kept.\n", out::count(contracts, "contract")),
        n => format!(
            "Broken: {} that the mapping needs.\n",
            out::count(n, "change")
        ),
    });
    out::text(&text)
}
