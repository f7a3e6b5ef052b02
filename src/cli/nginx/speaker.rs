//! What the process says of itself: into its error log, and what is bad enough on standard error too, as
//! long as somebody sits in front of it.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::telemetry::error_log::{Destination, ErrorLog, ErrorLogSettings, Severity};

/// Says things in nginx's form.
#[derive(Debug)]
pub struct Speaker {
    log: Option<ErrorLog>,
    is_attended: AtomicBool,
}

impl Speaker {
    /// Says things on standard error alone.
    pub fn mute() -> Self {
        Self { log: None, is_attended: AtomicBool::new(true) }
    }

    /// Opens logs. One that does not open is told, and standard error stands in for all.
    pub fn open(settings: &[ErrorLogSettings]) -> Result<Self, String> {
        let log = ErrorLog::open(settings)?;
        Ok(Self { log: Some(log), is_attended: AtomicBool::new(true) })
    }

    /// The log of `-e`, before a file says more.
    pub fn first(path: &str) -> Self {
        let to = match path {
            "stderr" => Destination::Stderr,
            path => Destination::File(path.into()),
        };
        Self::open(&[ErrorLogSettings { to, severity: Severity::Notice }]).unwrap_or_else(|error| {
            let speaker = Self::mute();
            speaker.say(Severity::Alert, &format!("could not open error log file: {error}"));
            speaker
        })
    }

    pub fn say(&self, severity: Severity, text: &str) {
        if let Some(log) = &self.log {
            log.write(severity, None, text);
        }
        let is_told = self.log.as_ref().is_some_and(ErrorLog::is_stderr);
        if self.is_attended.load(Ordering::Relaxed) && severity <= Severity::Warn && !is_told {
            eprintln!("nginx: [{}] {text}", severity.as_str());
        }
    }

    /// From now on nobody sits in front of it.
    pub fn detach(&self) {
        self.is_attended.store(false, Ordering::Relaxed);
    }

    pub fn reopen(&self) {
        if let Some(Err(error)) = self.log.as_ref().map(ErrorLog::reopen) {
            self.say(Severity::Emerg, &error);
        }
    }
}
