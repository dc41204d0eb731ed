//! The command line: one file a command.
//!
//! What every command keeps to: results go to standard output, everything else to standard error; a
//! failure is `error: …` and a line that says what to do; exit codes are those of [`exit`].

mod backfill;
mod bars;
mod check;
mod client;
mod config;
mod contract;
mod demo;
mod exit;
mod explain;
mod logging;
mod options;
mod out;
mod pending;
mod progress;
mod reach;
mod run;
mod sandbox;
mod status;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Keeps a CRM in step with a Postgres database, in commit order.
#[derive(Parser)]
#[command(
    name = "syncline",
    bin_name = "syncline",
    version,
    after_help = exit::HELP,
    subcommand_required = true,
    arg_required_else_help = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::Args),
    Run(run::Args),
    Check(check::Args),
    Status(status::Args),
    Explain(explain::Args),
    Backfill(backfill::Args),
    Pending(pending::Args),
    #[command(name = "dead-letters")]
    DeadLetters(pending::DeadLetters),
    Config(config::Args),
    Contract(contract::Args),
    Sandbox(sandbox::Args),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to standard output with code 0, mistakes to standard error with 2.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(exit::USAGE));
        }
    };
    exit::quiet_panics();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            return exit::failed(
                &syncline::fault::Error::new(
                    syncline::fault::ErrorKind::Machine,
                    "cannot start threads",
                )
                .source(error),
            );
        }
    };
    let ended = runtime.block_on(async {
        match cli.command {
            Command::Demo(args) => Box::pin(demo::run(args)).await,
            Command::Run(args) => Box::pin(run::run(args)).await,
            Command::Check(args) => Box::pin(check::run(args)).await,
            Command::Status(args) => Box::pin(status::run(args)).await,
            Command::Explain(args) => Box::pin(explain::run(args)).await,
            Command::Backfill(args) => Box::pin(backfill::run(args)).await,
            Command::Pending(args) => Box::pin(pending::run(args)).await,
            Command::DeadLetters(args) => Box::pin(pending::run(args.into())).await,
            Command::Config(args) => config::run(args),
            Command::Contract(args) => Box::pin(contract::run(args)).await,
            Command::Sandbox(args) => Box::pin(sandbox::run(args)).await,
        }
    });
    // A thread that still waits for a disk or a name server must not keep the process.
    runtime.shutdown_background();
    ended.unwrap_or_else(|error| exit::failed(&error))
}
