//! Arguments → configuration → `App::build` → run.

use std::path::Path;
use std::process::ExitCode;

use cloakroom::app::App;
use cloakroom::cli::{self, Command};
use cloakroom::clock::Clock;
use cloakroom::config;
use cloakroom::telemetry;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let outcome = match cli::parse() {
        Command::Check(check) => return check.run(),
        Command::Run { config } => run(&config),
        Command::Keys { keys, config } => {
            keys.run(&Clock::System, &config).map(|said| println!("{said}"))
        }
        Command::Sessions { sessions, config } => {
            sessions.run(&config).map(|said| println!("{said}"))
        }
        Command::Import(import) => return cli::import::run(&import),
        Command::Demo(demo) => cli::demo::run(demo.port),
        Command::Version(detail) => {
            // nginx writes it there.
            eprintln!("{}", cli::version(detail));
            Ok(())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("cloakroom: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(file: &Path) -> Result<(), String> {
    let config = config::load(file).map_err(|diagnostics| diagnostics.to_string())?;
    telemetry::log::init(&config.log)?;
    let app = App::build(config, Clock::System).map_err(|error| error.to_string())?;
    app.run().map_err(|error| error.to_string())
}
