//! `cargo run -p syncline-sandbox --example standalone [ADDRESS] [DATA] [FAULTS] [AUTHORITY]`: with a
//! file for the authority it speaks TLS.

#![allow(clippy::print_stdout)]

use syncline_sandbox::{Config, Sandbox, Tls};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let listen = args
        .next()
        .unwrap_or_else(|| "127.0.0.1:8801".to_owned())
        .parse()?;
    let data = args.next().filter(|d| !d.is_empty()).map(Into::into);
    let sandbox = Sandbox::start(Config {
        listen,
        data,
        faults: args.next().filter(|f| !f.is_empty()),
        tls: args.next().map(|file| Tls {
            authority: Some(file.into()),
            ..Tls::default()
        }),
        ..Config::default()
    })
    .await?;
    println!("{}", sandbox.url());
    std::future::pending().await
}
