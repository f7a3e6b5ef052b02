//! nginx's error log: `2026/11/30 02:00:00 [error] 123#123: *7 text`, to files, standard error and syslog.
//!
//! Whoever has something to say writes it himself, at once: what a process says last counts most. What
//! cannot be written is lost; no request waits for a log that fails.

use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, SubscriberExt};

use super::local_time;
use super::log_writer::{Syslog, SyslogSettings};
use crate::clock::Clock;

/// nginx's levels, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Emerg,
    Alert,
    Crit,
    Error,
    Warn,
    Notice,
    Info,
    Debug,
}

impl Severity {
    /// All of them with their names; the index is syslog's number (RFC 5424 section 6.2.1).
    pub const ALL: [(&'static str, Self); 8] = [
        ("emerg", Self::Emerg),
        ("alert", Self::Alert),
        ("crit", Self::Crit),
        ("error", Self::Error),
        ("warn", Self::Warn),
        ("notice", Self::Notice),
        ("info", Self::Info),
        ("debug", Self::Debug),
    ];

    pub fn as_str(self) -> &'static str {
        Self::ALL[self as usize].0
    }
}

impl From<Level> for Severity {
    fn from(level: Level) -> Self {
        match level {
            Level::ERROR => Self::Error,
            Level::WARN => Self::Warn,
            Level::INFO => Self::Notice,
            _ => Self::Debug,
        }
    }
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    File(PathBuf),
    Stderr,
    Syslog(SyslogSettings),
}

/// One log, and from which level on it takes lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorLogSettings {
    pub to: Destination,
    pub severity: Severity,
}

/// The logs of a process.
#[derive(Debug)]
pub struct ErrorLog {
    outputs: Vec<Output>,
}

#[derive(Debug)]
struct Output {
    severity: Severity,
    to: Opened,
}

#[derive(Debug)]
enum Opened {
    File(PathBuf, ArcSwap<File>),
    Stderr,
    Syslog(Mutex<Syslog>),
}

impl ErrorLog {
    /// Opens them.
    ///
    /// # Errors
    /// The one that cannot be opened, in nginx's words.
    pub fn open(settings: &[ErrorLogSettings]) -> Result<Self, String> {
        let open = |one: &ErrorLogSettings| {
            let to = match &one.to {
                Destination::Stderr => Opened::Stderr,
                Destination::File(path) => Opened::File(path.clone(), append(path)?),
                Destination::Syslog(settings) => {
                    let syslog = Syslog::open(settings);
                    let syslog = syslog.map_err(|error| format!("syslog: {error}"))?;
                    Opened::Syslog(Mutex::new(syslog))
                }
            };
            Ok(Output { severity: one.severity, to })
        };
        Ok(Self { outputs: settings.iter().map(open).collect::<Result<_, String>>()? })
    }

    /// The one that takes most.
    fn loudest(&self) -> Severity {
        self.outputs.iter().map(|output| output.severity).max().unwrap_or(Severity::Emerg)
    }

    /// Whether standard error is one of them.
    pub fn is_stderr(&self) -> bool {
        self.outputs.iter().any(|output| matches!(output.to, Opened::Stderr))
    }

    /// Writes a line, with the number of the connection that it is about.
    pub fn write(&self, severity: Severity, connection: Option<u64>, text: &str) {
        if severity > self.loudest() {
            return;
        }
        let line = line(severity, connection, text);
        for output in self.outputs.iter().filter(|output| severity <= output.severity) {
            // There is nobody to be told of a log that takes nothing.
            let _ = match &output.to {
                Opened::Stderr => io::stderr().write_all(&line),
                Opened::File(_, file) => (&**file.load()).write_all(&line),
                Opened::Syslog(syslog) => {
                    let mut syslog = syslog.lock().unwrap_or_else(PoisonError::into_inner);
                    syslog.say(severity as u8, line.trim_ascii_end())
                }
            };
        }
    }

    /// Opens files anew. One that cannot be opened stays what it was.
    ///
    /// # Errors
    /// What could not be opened.
    pub fn reopen(&self) -> Result<(), String> {
        self.outputs.iter().try_for_each(|output| {
            if let Opened::File(path, file) = &output.to {
                file.store(append(path)?.into_inner());
            }
            Ok(())
        })
    }
}

/// The log of this process, once it has one.
static OWN: OnceLock<Arc<ErrorLog>> = OnceLock::new();

/// Makes it the log of this process; the first one stays.
pub(super) fn install(log: &Arc<ErrorLog>) {
    let _ = OWN.set(log.clone());
}

/// Opens the files of this process's log anew (USR1).
pub fn reopen() {
    if let Some(Err(error)) = OWN.get().map(|log| log.reopen()) {
        tracing::error!("{error}");
    }
}

fn append(path: &Path) -> Result<ArcSwap<File>, String> {
    let opened = OpenOptions::new().append(true).create(true).mode(0o644).open(path);
    let failed = |error| format!("open() \"{}\" failed {}", path.display(), system_error(&error));
    opened.map(ArcSwap::from_pointee).map_err(failed)
}

/// `(2: No such file or directory)`
pub fn system_error(error: &io::Error) -> String {
    let text = error.to_string();
    match (error.raw_os_error(), text.rsplit_once(" (os error")) {
        (Some(number), Some((text, _))) => format!("({number}: {text})"),
        _ => format!("({text})"),
    }
}

fn line(severity: Severity, connection: Option<u64>, text: &str) -> Vec<u8> {
    let mut line = Vec::with_capacity(64 + text.len());
    local_time::error_log(Clock::System.now(), &mut line);
    let (process, thread) = (std::process::id(), rustix::thread::gettid());
    let connection = connection.map(|number| format!("*{number} ")).unwrap_or_default();
    // A line stays one: what a peer chose may hold others.
    let text = text.replace(['\n', '\r'], " ");
    let thread = thread.as_raw_nonzero();
    let _ = writeln!(line, " [{}] {process}#{thread}: {connection}{text}", severity.as_str());
    line
}

/// Events of this process as lines of the log.
pub(super) fn subscriber(log: Arc<ErrorLog>) -> impl Subscriber + Send + Sync {
    let own = match log.loudest() {
        // Some events say that they are worse than errors.
        Severity::Emerg | Severity::Alert | Severity::Crit | Severity::Error => LevelFilter::ERROR,
        Severity::Warn => LevelFilter::WARN,
        Severity::Notice | Severity::Info => LevelFilter::INFO,
        Severity::Debug => LevelFilter::DEBUG,
    };
    let targets = Targets::new()
        .with_default(own.min(LevelFilter::WARN))
        .with_target("cloakroom", own)
        .with_target("audit", own)
        // Requests have logs of their own.
        .with_target("access", LevelFilter::OFF);
    tracing_subscriber::registry().with(Lines(log).with_filter(targets))
}

struct Lines(Arc<ErrorLog>);

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut said = Said::default();
        event.record(&mut said);
        let severity = said.severity.unwrap_or(Severity::from(*event.metadata().level()));
        self.0.write(severity, said.connection, &format!("{}{}", said.message, said.fields));
    }
}

/// An event: its message, then its fields.
#[derive(Default)]
struct Said {
    message: String,
    fields: String,
    connection: Option<u64>,
    /// Where it is not what the event's own level says.
    severity: Option<Severity>,
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "severity" => {
                let named = Severity::ALL.iter().find(|(name, _)| *name == value);
                self.severity = named.map(|(_, severity)| *severity);
            }
            _ => self.record_debug(field, &value),
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "connection" => self.connection = Some(value),
            _ => self.record_debug(field, &value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, ", {name}: {value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::util::SubscriberInitExt;

    use super::*;

    #[test]
    fn lines_have_the_form_of_nginx() {
        let line = String::from_utf8(line(Severity::Error, Some(7), "a\nb")).expect("text");
        let (time, rest) = line.split_at(19);
        let digits = time.bytes().filter(u8::is_ascii_digit).count();
        assert_eq!((digits, &time[4..5], &time[13..14]), (14, "/", ":"), "{line}");
        let process = std::process::id();
        assert!(rest.starts_with(&format!(" [error] {process}#")), "{line}");
        assert!(rest.ends_with(": *7 a b\n"), "{line}");
    }

    #[test]
    fn each_log_takes_what_is_bad_enough() {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = |name: &str, severity| ErrorLogSettings {
            to: Destination::File(folder.path().join(name)),
            severity,
        };
        let all = [settings("errors", Severity::Error), settings("debug", Severity::Debug)];
        let log = Arc::new(ErrorLog::open(&all).expect("they open"));
        let until_here = subscriber(log).set_default();
        tracing::error!(target: "cloakroom::x", connection = 3_u64, host = %"h", "an error");
        tracing::debug!(target: "cloakroom::x", "a detail");
        tracing::info!(target: "access", "a request");
        tracing::debug!(target: "rustls", "noise");
        drop(until_here);
        let said = |name: &str| {
            let text = std::fs::read_to_string(folder.path().join(name)).expect("it is there");
            let said = text.lines().map(|line| line.split_once("]").expect("a level").0);
            (said.filter_map(|line| line.split('[').nth(1)).collect::<Vec<_>>().join(" "), text)
        };
        assert_eq!(said("errors").0, "error");
        assert_eq!(said("debug").0, "error debug");
        assert!(said("errors").1.ends_with(": *3 an error, host: h\n"), "{:?}", said("errors"));
    }

    #[test]
    fn a_log_that_does_not_open_is_told_in_words_of_nginx() {
        let to = Destination::File("/nowhere/error.log".into());
        let error = ErrorLog::open(&[ErrorLogSettings { to, severity: Severity::Error }]);
        let expected = "open() \"/nowhere/error.log\" failed (2: No such file or directory)";
        assert_eq!(error.err().as_deref(), Some(expected));
    }
}
