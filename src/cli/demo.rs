//! `cloakroom demo`: two workers, Cloakroom in front of them, and a first minute to follow.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::mpsc;

use crate::app::App;
use crate::clock::Clock;
use crate::config::{self, environment::Environment};
use crate::demo::{self, Ports, WORKERS, Worker};
use crate::telemetry;

/// Where the demo keeps its configuration and state, below the current directory.
const DIRECTORY: &str = "cloakroom-demo";

/// Runs the demo until a signal ends it.
///
/// # Errors
/// A port is taken, or the directory can't be written.
pub fn run(port: u16) -> Result<(), String> {
    let workers = start_workers()?;
    let ports = Ports { listen: port, workers };
    let file = Path::new(DIRECTORY).join("demo.yaml");
    std::fs::create_dir_all(DIRECTORY)
        .and_then(|()| std::fs::write(&file, demo::config_yaml(ports)))
        .map_err(|error| format!("{}: {error}", file.display()))?;
    let environment = Environment::of_process();
    let config = config::load_in(&file, &environment).map_err(|found| found.to_string())?;
    telemetry::log::init(&telemetry::LogSettings {
        level: "warn".to_owned(),
        ..config.log.clone()
    })?;
    let app = App::build(config, Clock::System).map_err(|error| error.to_string())?;
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let here = std::env::current_dir().map_err(|error| error.to_string())?;
    let program = program.strip_prefix(&here).unwrap_or(&program);
    println!("{}", demo::first_minute(ports, program, &file));
    app.run().map_err(|error| error.to_string())
}

/// The workers have a thread and a runtime of their own, as another process would.
fn start_workers() -> Result<[u16; 2], String> {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(tell.send(Err(error.to_string()))),
        };
        runtime.block_on(async {
            let mut workers = Vec::new();
            for (name, port) in WORKERS.into_iter().zip(Ports::default().workers) {
                match start_worker(name, port).await {
                    Ok(worker) => workers.push(worker),
                    Err(error) => return drop(tell.send(Err(format!("worker {name}: {error}")))),
                }
            }
            let [red, blue] = &workers[..] else { unreachable!("a worker for each name") };
            drop(tell.send(Ok([red, blue].map(|worker| worker.address().port()))));
            std::future::pending::<()>().await;
        });
    });
    told.recv().map_err(|_| "the workers did not start".to_owned())?
}

/// On the usual port, or on a free one where somebody else has that.
async fn start_worker(name: &str, port: u16) -> io::Result<Worker> {
    let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    match demo::spawn_worker(name, at(port)).await {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            demo::spawn_worker(name, at(0)).await
        }
        started => started,
    }
}
