//! Arguments → configuration → `App::build` → run.

use std::path::Path;
use std::process::ExitCode;

use cloakroom::app::App;
use cloakroom::cli::{self, Command, Keys};
use cloakroom::clock::Clock;
use cloakroom::config;
use cloakroom::crypto::keyring::Keyring;
use cloakroom::telemetry;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let outcome = match cli::parse() {
        Command::Check(check) => return check.run(),
        Command::Run { config } => run(&config),
        Command::Keys(keys) => work_on(&keys),
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

fn work_on(keys: &Keys) -> Result<(), String> {
    match keys {
        Keys::New { file } => {
            let ring = Keyring::generate(Clock::System.now()).map_err(|error| error.to_string())?;
            ring.save_new(file).map_err(|error| error.to_string())?;
            println!(
                "{}: a new key ring; keep it secret, and give every node the same",
                file.display()
            );
            Ok(())
        }
        Keys::Show { file } => {
            let ring = Keyring::load(file).map_err(|error| error.to_string())?;
            for key in ring.describe() {
                println!(
                    "{}  {:<5}  {:<7}  made {}",
                    key.kid,
                    key.usage.as_str(),
                    key.status.as_str(),
                    key.created
                );
            }
            Ok(())
        }
    }
}
