//! A worker: takes sockets and configuration from its master, and serves.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::thread;

use rustix::process::{Resource, Rlimit, Signal, getpid, kill_process, setrlimit};

use super::daemon;
use super::handing::{self, Work};
use super::privileges::become_account;
use super::speaker::Speaker;
use crate::app::App;
use crate::clock::Clock;
use crate::config::environment::Environment;
use crate::config::{self, Config};
use crate::listen::Inherited;
use crate::telemetry;
use crate::telemetry::error_log::Severity;

/// Serves until told otherwise.
///
/// # Errors
/// What kept it from serving has been said.
pub fn run() -> Result<(), ()> {
    let master = handing::standard_input().and_then(|master| {
        let (sockets, work) = handing::take(&master)?;
        Ok((master, Inherited::from_descriptors(sockets)?, work))
    });
    let (master, sockets, work) = master.map_err(|error| {
        Speaker::mute().say(Severity::Alert, &format!("a worker without a master: {error}"));
    })?;
    let parsed = config::parse(&work.yaml, &work.name, &Environment::of_process());
    let config =
        parsed.map_err(|found| Speaker::mute().say(Severity::Emerg, &found.to_string()))?;
    let detaches = work.detaches;
    serve(config, sockets, &work, move || {
        if detaches {
            daemon::fall_silent().map_err(|error| error.to_string())?;
        }
        // Where it is gone there is nobody to be told, and the end comes by itself.
        let _ = handing::say_serving(&master);
        thread::spawn(move || end_with(&master));
        Ok(())
    })
}

/// Serves in this process. `serving` is called when everything is open and connections are taken.
///
/// # Errors
/// What kept it from serving has been said.
pub fn serve(
    config: Config,
    sockets: Inherited,
    work: &Work,
    serving: impl FnOnce() -> Result<(), String> + Send + 'static,
) -> Result<(), ()> {
    let speaker = Speaker::open(&config.log.error_logs).unwrap_or_else(|error| {
        let mute = Speaker::mute();
        mute.say(Severity::Emerg, &error);
        mute
    });
    let fail = |text: String| text.lines().for_each(|line| speaker.say(Severity::Emerg, line));
    raise_open_files(work).map_err(fail)?;
    telemetry::log::init(&config.log).map_err(fail)?;
    let app = App::build_with(config, Clock::System, sockets).map_err(|e| fail(e.to_string()))?;
    // Keys have been read, and logs opened.
    if let Some(account) = &work.account {
        become_account(account).map_err(fail)?;
    }
    if let Some(folder) = &work.working_directory {
        let entered = std::env::set_current_dir(folder);
        entered
            .map_err(|error| fail(format!("chdir(\"{}\") failed ({error})", folder.display())))?;
    }
    speaker.detach();
    app.run_and_tell(serving).map_err(|error| fail(error.to_string()))
}

/// Nobody could end a worker without a master: it lets its requests finish.
fn end_with(mut master: &UnixStream) {
    let mut nothing = [0; 1];
    while matches!(master.read(&mut nothing), Ok(1..)) {}
    let _ = kill_process(getpid(), Signal::QUIT);
}

fn raise_open_files(work: &Work) -> Result<(), String> {
    let Some(files) = work.open_files else { return Ok(()) };
    let limit = Rlimit { current: Some(files), maximum: Some(files) };
    setrlimit(Resource::Nofile, limit)
        .map_err(|error| format!("setrlimit(RLIMIT_NOFILE, {files}) failed ({error})"))
}
