//! The program under nginx's name: its switches, its messages, its processes, and its file served at once.
//!
//! | file | holds |
//! | --- | --- |
//! | `options`, `version` | the command line, and what `-v`, `-V` and `-h` say |
//! | `globals` | the directives that concern the process |
//! | `file` | a file read, translated and checked |
//! | `speaker` | what the process says of itself, in its log and on standard error |
//! | `orders` | `-s` |
//! | `daemon` | the way into the background |
//! | `master`, `signals` | sockets, pid file, workers, reload |
//! | `handing` | what a master gives its workers |
//! | `worker`, `privileges` | who serves, and as whom |

pub mod daemon;
mod file;
mod globals;
mod handing;
mod master;
pub mod options;
mod orders;
mod privileges;
mod signals;
mod speaker;
mod version;
mod worker;

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use self::file::Read;
use self::globals::Places;
use self::handing::Work;
use self::options::Options;
use self::speaker::Speaker;
use crate::listen::Inherited;
use crate::telemetry::error_log::Severity;

pub use self::version::{configure, short};

/// The word that a worker is started with; nobody else has a use for it.
const WORKER: &str = "--worker-of-a-master";

/// Runs as nginx, where the program was started under that name, or as a worker of one that was.
pub fn run() -> Option<ExitCode> {
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_default();
    let words: Vec<OsString> = words.collect();
    if words.first().is_some_and(|word| word == WORKER) {
        return Some(code(worker::run()));
    }
    is_nginx(&name).then(|| started(words))
}

/// Whether a program's name is nginx's, whatever stands behind it: `nginx-debug`.
fn is_nginx(name: &OsStr) -> bool {
    let file = Path::new(name).file_name().unwrap_or_default();
    file.as_encoded_bytes().starts_with(b"nginx")
}

fn code(outcome: Result<(), ()>) -> ExitCode {
    if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn started(words: Vec<OsString>) -> ExitCode {
    let options = match Options::read(words) {
        Ok(options) => options,
        Err(wrong) => {
            eprintln!("nginx: {wrong}");
            return ExitCode::FAILURE;
        }
    };
    if options.version {
        eprintln!("{}", version::short());
        if options.help {
            eprintln!("{}", version::help());
        }
        if options.configure {
            eprintln!("{}", version::configure());
        }
        if !options.test {
            return ExitCode::SUCCESS;
        }
    }
    let places = places_of(&options);
    let speaker = Speaker::first(&places.error_log(&options));
    let Ok(read) = read_file(&options, &speaker) else {
        if options.test {
            eprintln!("nginx: configuration file {} test failed", places.conf);
        }
        return ExitCode::FAILURE;
    };
    if options.test {
        return tested(&options, &places, &read, &speaker);
    }
    if let Some(order) = options.order {
        return code(orders::send(order, &read.globals, &speaker));
    }
    serve(options, &speaker, read)
}

fn serve(options: Options, first: &Speaker, read: Read) -> ExitCode {
    if daemon::is_wanted(read.globals.daemon) {
        return daemon::start().unwrap_or_else(|error| {
            first.say(Severity::Emerg, &format!("daemon() failed ({error})"));
            ExitCode::FAILURE
        });
    }
    let Ok(speaker) = open_speaker(&read, first) else { return ExitCode::FAILURE };
    for left in &read.left {
        speaker.say(Severity::Warn, left);
    }
    if read.globals.master_process {
        return code(master::run(options, speaker, read));
    }
    code(alone(read))
}

/// `master_process off`: everything in this process, as whom it was started.
fn alone(read: Read) -> Result<(), ()> {
    let Read { globals, config, yaml, name, .. } = read;
    let folder = globals.working_directory.map(Into::into);
    let work = Work {
        name,
        yaml,
        account: None,
        open_files: globals.open_files,
        working_directory: folder,
        detaches: false,
    };
    let (pid, goes_away) = (globals.pid, globals.daemon);
    let written = pid.clone();
    let serving = move || {
        master::write_pid(&written)?;
        if goes_away { daemon::leave().map_err(|error| error.to_string()) } else { Ok(()) }
    };
    let outcome = worker::serve(config, Inherited::default(), &work, serving);
    let _ = std::fs::remove_file(&pid);
    outcome
}

fn places_of(options: &Options) -> Places {
    Places::of(options.prefix.as_deref(), options.conf.as_deref())
}

/// Reads the file that the options name.
///
/// # Errors
/// What is wrong has been said.
fn read_file(options: &Options, speaker: &Speaker) -> Result<Read, ()> {
    file::read(&places_of(options), options).map_err(|wrong| {
        wrong.iter().for_each(|wrong| speaker.say(Severity::Emerg, wrong));
    })
}

/// The logs that the file names.
///
/// # Errors
/// What does not open has been said.
fn open_speaker(read: &Read, before: &Speaker) -> Result<Speaker, ()> {
    Speaker::open(&read.config.log.error_logs).map_err(|error| before.say(Severity::Emerg, &error))
}

/// `-t`, `-T`
fn tested(options: &Options, places: &Places, read: &Read, speaker: &Speaker) -> ExitCode {
    for left in &read.left {
        speaker.say(Severity::Warn, left);
    }
    if !options.quiet {
        eprintln!("nginx: the configuration file {} syntax is ok", places.conf);
    }
    if let Err(wrong) = file::test(read) {
        wrong.iter().for_each(|wrong| speaker.say(Severity::Emerg, wrong));
        eprintln!("nginx: configuration file {} test failed", places.conf);
        return ExitCode::FAILURE;
    }
    if !options.quiet {
        eprintln!("nginx: configuration file {} test is successful", places.conf);
    }
    if options.dump && io::stdout().write_all(&read.tree.dump()).is_err() {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_decides() {
        for (name, expected) in [
            ("nginx", true),
            ("/usr/sbin/nginx", true),
            ("./nginx-debug", true),
            ("cloakroom", false),
            ("/nginx/cloakroom", false),
        ] {
            assert_eq!(is_nginx(OsStr::new(name)), expected, "{name}");
        }
    }
}
