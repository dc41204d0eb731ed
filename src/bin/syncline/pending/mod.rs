//! `syncline pending` and `syncline dead-letters`: what the CRM still has to get.

mod act;
mod list;
mod show;

use std::process::ExitCode;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use syncline::fault::{Error, ErrorKind, Result};
use syncline::planning::Reason;
use syncline::supervisor::decide::Side;
use syncline::web::report::word;
use syncline::web::shelf::{Filter, Name};
use tracing_subscriber::filter::LevelFilter;

pub(crate) use self::list::printable;
use crate::logging;
use crate::options::ConfigArgs;

/// What the CRM still has to get: dead letters, and what waits, is held or deferred
#[derive(ClapArgs)]
#[command(after_help = "\
Example:
  syncline pending list --reason waiting
  syncline pending show Contact 4711
  syncline pending retry Contact 4711
  syncline pending discard --all --reason dead_letter
  syncline pending release --table public.customer --code brake_deletes

A record is named by its CRM object and external id, as `list` shows them.
`syncline dead-letters …` is short for `syncline pending … --reason dead_letter`.")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

/// The pending changes that failed for a reason of their own
#[derive(ClapArgs)]
#[command(after_help = "\
Example:
  syncline dead-letters list
  syncline dead-letters show Contact 4711
  syncline dead-letters retry --all

A dead letter is tried again by itself when its row changes, and closes when that succeeds.")]
pub(crate) struct DeadLetters {
    #[command(subcommand)]
    command: Command,
}

impl From<DeadLetters> for Args {
    fn from(short: DeadLetters) -> Self {
        let mut command = short.command;
        let reason = match &mut command {
            Command::List { reason, .. }
            | Command::Show { reason, .. }
            | Command::Retry { reason, .. }
            | Command::Discard { reason, .. }
            | Command::Release { reason, .. }
            | Command::Export { reason, .. } => reason,
            Command::Kept { .. } | Command::Recreate { .. } => return Args { command },
        };
        reason.reason = Some(ReasonWord::DeadLetter);
        Args { command }
    }
}

/// Why something is pending.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum ReasonWord {
    /// Failed for a reason of its own
    DeadLetter,
    /// Waits for the record it refers to
    Waiting,
    /// Held until a person decides
    Held,
    /// Delivery is paused, or the CRM is down
    Deferred,
}

/// Whose values stay.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum TakeWord {
    /// The database's
    Source,
    /// The CRM's
    Crm,
}

impl TakeWord {
    fn side(self) -> Side {
        match self {
            TakeWord::Source => Side::Source,
            TakeWord::Crm => Side::Crm,
        }
    }
}

#[derive(ClapArgs, Clone, Copy)]
struct ReasonArg {
    /// Only what is pending for this reason
    #[arg(long, value_name = "REASON", value_enum)]
    reason: Option<ReasonWord>,
}

impl ReasonArg {
    fn get(self) -> Option<Reason> {
        self.reason.map(|word| match word {
            ReasonWord::DeadLetter => Reason::DeadLetter,
            ReasonWord::Waiting => Reason::Waiting,
            ReasonWord::Held => Reason::Held,
            ReasonWord::Deferred => Reason::Deferred,
        })
    }

    fn word(self) -> &'static str {
        self.get().map_or("", word)
    }
}

/// Which records.
#[derive(ClapArgs)]
struct Which {
    /// The CRM object, such as Contact
    #[arg(required_unless_present_any = ["all", "table", "code"], requires = "external_ids")]
    object: Option<String>,
    /// External ids of its records
    #[arg(value_name = "EXTERNAL-ID")]
    external_ids: Vec<String>,
    /// All that are pending (for the reason, if one is given)
    #[arg(long, conflicts_with_all = ["object", "external_ids"])]
    all: bool,
    #[command(flatten)]
    of: Of,
}

/// Which of all.
#[derive(ClapArgs, Clone, Default)]
struct Of {
    /// Only those of this table, as in public.customer
    #[arg(long, value_name = "TABLE", conflicts_with_all = ["object", "external_ids"])]
    table: Option<String>,
    /// Only those with this code, such as brake_deletes
    #[arg(long, value_name = "CODE", conflicts_with_all = ["object", "external_ids"])]
    code: Option<String>,
}

impl Of {
    fn filter(&self, reason: ReasonArg) -> Filter {
        Filter {
            reason: reason.get(),
            table: self.table.clone(),
            code: self.code.clone(),
        }
    }
}

impl Which {
    fn all(&self) -> bool {
        self.object.is_none()
    }

    fn names(&self) -> Vec<Name> {
        let Some(object) = &self.object else {
            return Vec::new();
        };
        let ids = self.external_ids.iter();
        ids.map(|id| Name {
            object: object.clone(),
            external_id: id.clone(),
        })
        .collect()
    }
}

#[derive(Subcommand)]
enum Command {
    /// List records: object, external id, reason, code, since when, tries; no values
    List {
        #[command(flatten)]
        config: ConfigArgs,
        #[command(flatten)]
        reason: ReasonArg,
        /// Only those of this table, as in public.customer
        #[arg(long, value_name = "TABLE")]
        table: Option<String>,
        /// Only those with this code, such as brake_deletes
        #[arg(long, value_name = "CODE")]
        code: Option<String>,
        /// At most so many; the last line says how to go on
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
        /// Go on after this mark, as the last list said
        #[arg(long, value_name = "MARK")]
        after: Option<String>,
        /// As JSON: {"pending": […], "next": mark or null}
        #[arg(long)]
        json: bool,
        /// End with 3 when there is any
        #[arg(long)]
        check: bool,
    },
    /// Show one record with its values, what went wrong, and what to do
    Show {
        #[command(flatten)]
        config: ConfigArgs,
        #[command(flatten)]
        reason: ReasonArg,
        /// The CRM object, such as Contact
        object: String,
        /// The record's external id
        external_id: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Try records again now (needs a running process)
    Retry {
        #[command(flatten)]
        config: ConfigArgs,
        #[command(flatten)]
        reason: ReasonArg,
        #[command(flatten)]
        which: Which,
        /// As JSON: {"records": n, "missing": […], "more": bool}
        #[arg(long)]
        json: bool,
    },
    /// Give changes up: they count as ignored, and the CRM keeps what it has
    Discard {
        #[command(flatten)]
        config: ConfigArgs,
        #[command(flatten)]
        reason: ReasonArg,
        #[command(flatten)]
        which: Which,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// As JSON: {"records": n, "missing": […], "more": bool}
        #[arg(long)]
        json: bool,
    },
    /// Let go what is held: by a brake, or for a person (needs a running process)
    #[command(after_help = "\
Example:
  syncline pending release --all --code brake_deletes
  syncline pending release Contact 4711 --take crm
  syncline pending release Contact 4711 --take source --always

Fields that both sides have changed are decided with --take; `syncline pending show` has both values.
With --always the fields in conflict belong to that side from now on, in every record. The line for
the configuration is printed; until it is there, `syncline status` reminds of it.")]
    Release {
        #[command(flatten)]
        config: ConfigArgs,
        #[command(flatten)]
        reason: ReasonArg,
        #[command(flatten)]
        which: Which,
        /// Decides conflicts: whose values stay
        #[arg(long, value_name = "SIDE", value_enum)]
        take: Option<TakeWord>,
        /// Make it a rule for the fields in conflict
        #[arg(long, conflicts_with = "all", requires = "take")]
        always: bool,
        /// As JSON: {"records": n, "missing": […], "more": bool}
        #[arg(long)]
        json: bool,
    },
    /// List records that people deleted in the CRM and that stay so (on_crm_delete = "keep_deleted")
    Kept {
        #[command(flatten)]
        config: ConfigArgs,
        /// Fields, of records that are there, that hold what people wrote instead of what the database
        /// has (owner = "newest" or "ask")
        #[arg(long)]
        fields: bool,
        /// At most so many; the last line says how to go on
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
        /// Go on after this mark, as the last list said
        #[arg(long, value_name = "MARK")]
        after: Option<String>,
        /// As JSON: {"kept": […], "next": mark or null}; of fields {"kept_fields": […], "total", "next"}
        #[arg(long)]
        json: bool,
    },
    /// Make such records again, from their rows (needs a running process)
    Recreate {
        #[command(flatten)]
        config: ConfigArgs,
        /// The CRM object, such as Contact
        object: String,
        /// External ids of its records
        #[arg(value_name = "EXTERNAL-ID", required = true)]
        external_ids: Vec<String>,
        /// As JSON: {"records": n, "missing": […], "more": bool}
        #[arg(long)]
        json: bool,
    },
    /// Write all of them with their values, one JSON object a line
    Export {
        #[command(flatten)]
        config: ConfigArgs,
        #[command(flatten)]
        reason: ReasonArg,
    },
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    logging::start(logging::Form::Human, LevelFilter::ERROR);
    match args.command {
        Command::List {
            config,
            reason,
            table,
            code,
            limit,
            after,
            json,
            check,
        } => {
            let config = config.load()?.config;
            let wanted = list::Wanted {
                filter: Of { table, code }.filter(reason),
                reason,
                limit,
                after,
                json,
                check,
            };
            list::list(&config, wanted).await
        }
        Command::Show {
            config,
            reason,
            object,
            external_id,
            json,
        } => {
            let config = config.load()?.config;
            let name = Name {
                object,
                external_id,
            };
            show::show(&config, reason, name, json).await
        }
        Command::Retry {
            config,
            reason,
            which,
            json,
        } => {
            let config = config.load()?.config;
            act::retry(&config, reason, &which, json).await
        }
        Command::Discard {
            config,
            reason,
            which,
            yes,
            json,
        } => {
            let config = config.load()?.config;
            act::discard(&config, reason, &which, yes, json).await
        }
        Command::Release {
            config,
            reason,
            which,
            take,
            always,
            json,
        } => {
            let config = config.load()?.config;
            match take {
                Some(take) => act::decide(&config, reason, &which, take.side(), always, json).await,
                None => act::release(&config, reason, &which, json).await,
            }
        }
        Command::Kept {
            config,
            fields,
            limit,
            after,
            json,
        } => {
            let config = config.load()?.config;
            match fields {
                true => list::kept_fields(&config, limit, after, json).await,
                false => list::kept(&config, limit, after, json).await,
            }
        }
        Command::Recreate {
            config,
            object,
            external_ids,
            json,
        } => {
            let config = config.load()?.config;
            let names = external_ids.into_iter().map(|external_id| Name {
                object: object.clone(),
                external_id,
            });
            act::recreate(&config, names.collect(), json).await
        }
        Command::Export { config, reason } => {
            let config = config.load()?.config;
            list::export(&config, reason).await
        }
    }
}

/// Nothing is pending under this name.
fn nothing(name: &Name, reason: ReasonArg) -> Error {
    let what = match reason.get() {
        None => format!("nothing is pending for {name}"),
        Some(reason) => format!(
            "nothing is pending for {name} as {}",
            word(reason).replace('_', " ")
        ),
    };
    Error::new(ErrorKind::Machine, what).remedy("`syncline pending list` names the records")
}
