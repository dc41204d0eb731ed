//! Options that several commands have.

use std::path::PathBuf;

use clap::Args;
use syncline::config::{Config, Loaded};
use syncline::fault::Result;

/// Where the configuration comes from.
#[derive(Args, Clone, Debug)]
pub(crate) struct ConfigArgs {
    /// The configuration file
    #[arg(
        long,
        short,
        value_name = "FILE",
        default_value = "config.toml",
        env = "SYNCLINE_CONFIG"
    )]
    pub(crate) config: PathBuf,
    /// A value that goes before the file's and the environment's; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) set: Vec<(String, String)>,
}

impl ConfigArgs {
    /// The configuration, and where each value came from.
    pub(crate) fn load(&self) -> Result<Loaded> {
        let text = |s: std::ffi::OsString| s.into_string().ok();
        let variables = std::env::vars_os().filter_map(|(n, v)| Some((text(n)?, text(v)?)));
        Config::load(&self.config, variables, &self.set)
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.to_owned()))
        }
        _ => Err("write it as key=value, such as delivery.max_rows=500".into()),
    }
}
