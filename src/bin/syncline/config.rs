//! `syncline config`

use std::process::ExitCode;

use clap::Subcommand;
use syncline::fault::Result;

use crate::options::ConfigArgs;
use crate::out;

/// Look at the configuration
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print every value as it holds, and where it came from; secrets are masked
    #[command(
        after_help = "Example:\n  syncline config show --config /etc/syncline/config.toml\n  \
                      SYNCLINE_DELIVERY__MAX_ROWS=500 syncline config show --json"
    )]
    Show {
        #[command(flatten)]
        config: ConfigArgs,
        /// As JSON: {"<key>": {"value": …, "from": …}}
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let Command::Show { config, json } = args.command;
    let loaded = config.load()?;
    if json {
        out::json(&loaded.show_json())?;
    } else {
        out::text(&loaded.show())?;
    }
    Ok(ExitCode::SUCCESS)
}
