//! Arguments → configuration → `App::build` → run.

use std::path::PathBuf;
use std::process::ExitCode;

use cloakroom::app::App;
use cloakroom::cli::first_look::FirstLook;
use cloakroom::cli::nginx::daemon;
use cloakroom::cli::switches::Switches;
use cloakroom::cli::{self, Command};
use cloakroom::clock::Clock;
use cloakroom::config::environment::Environment;
use cloakroom::config::{self, Config};
use cloakroom::telemetry;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if let Some(code) = cli::nginx::run() {
        return code;
    }
    let (switches, words) = match Switches::take(std::env::args_os()) {
        Ok(taken) => taken,
        Err(wrong) => {
            eprintln!("cloakroom: {wrong}");
            return ExitCode::from(2);
        }
    };
    let outcome = match cli::parse(words) {
        Command::Check(mut check) => {
            check.config = switches.path(check.config);
            return check.run();
        }
        Command::Run { config } => match switches.order {
            Some(order) => switches
                .send(order, &switches.path(config))
                .map(|said| said.iter().for_each(|line| eprintln!("cloakroom: {line}"))),
            None if daemon::is_wanted(switches.daemon) => match daemon::start() {
                Ok(code) => return code,
                Err(error) => Err(format!("daemon: {error}")),
            },
            None => run(switches.path(config), switches),
        },
        Command::Keys { keys, config } => {
            keys.run(&Clock::System, &config).map(|said| println!("{said}"))
        }
        Command::Sessions { sessions, config } => {
            sessions.run(&config).map(|said| println!("{said}"))
        }
        Command::Upstreams { upstreams, config } => {
            upstreams.run(&config).map(|said| println!("{said}"))
        }
        Command::Import { import, config, quiet } if import.run => {
            import.config(&config, quiet).and_then(serve)
        }
        Command::Import { import, config, quiet } => return import.write(&config, quiet),
        Command::Schema => {
            println!("{:#}", config::json_schema::json_schema());
            Ok(())
        }
        Command::FirstLook(look) => first_look(&look),
        Command::CheckFirstLook { look, prints } => return look.test(prints),
        Command::Report(report) => report.run(),
        Command::Learn(learn) => learn.run(),
        Command::Completions(completions) => completions.run(),
        Command::Manual(manual) => manual.run(),
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

/// Serves a file, which is read again when that is asked for.
fn run(file: PathBuf, switches: Switches) -> Result<(), String> {
    let leaves = switches.daemon && daemon::is_copy();
    let read = move || switches.load(&file);
    let config = read()?;
    let serving = move || match leaves {
        true => daemon::leave().map_err(|error| format!("daemon: {error}")),
        false => Ok(()),
    };
    let app = build(config)?.reloading_by(Box::new(read));
    app.run_and_tell(serving).map_err(|error| error.to_string())
}

fn first_look(look: &FirstLook) -> Result<(), String> {
    let config = look.config(&Environment::of_process())?;
    let here =
        std::env::current_dir().map_err(|error| format!("the current directory: {error}"))?;
    let said = look.said(&config, &here);
    let app = build(config)?;
    println!("{said}");
    app.run().map_err(|error| error.to_string())
}

fn serve(config: Config) -> Result<(), String> {
    build(config)?.run().map_err(|error| error.to_string())
}

fn build(config: Config) -> Result<App, String> {
    telemetry::log::init(&config.log)?;
    App::build(config, Clock::System).map_err(|error| error.to_string())
}
