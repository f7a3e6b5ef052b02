//! Where log lines go and which ones are written.
//!
//! One subscriber for the process: `tracing` events, and the records of crates that use `log`
//! (rustls does) through the bridge that comes with `tracing-subscriber`. Lines go to standard
//! error, each with one `write`; files, rotation and shipping are the service manager's business.

use std::io::{self, IsTerminal};
use std::sync::Arc;

use tracing::Subscriber;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, registry};

use crate::telemetry::error_log::{self, ErrorLog};
use crate::telemetry::{Format, LogSettings};

/// What holds where the operator's filter says nothing. `level: warn` quiets the process's own
/// lines; access lines and audit events have switches of their own, so they stay.
const BASE: &str = "info,access=info,audit=info";

/// Begins to write log lines. Does nothing where that has been done before, so that several
/// applications can live in one test process.
///
/// # Errors
/// Says what is wrong with `settings.level`, or which log does not open.
pub fn init(settings: &LogSettings) -> Result<(), String> {
    if !settings.error_logs.is_empty() {
        let log = Arc::new(ErrorLog::open(&settings.error_logs)?);
        error_log::install(&log);
        let _ = error_log::subscriber(log).try_init();
        return Ok(());
    }
    let subscriber = subscriber(settings, io::stderr, io::stderr().is_terminal())?;
    // The one way to fail is that somebody was first.
    let _ = subscriber.try_init();
    Ok(())
}

/// Checks a filter without using it, for `cloakroom check`.
///
/// # Errors
/// Says what is wrong with it.
pub fn check_level(level: &str) -> Result<(), String> {
    filter(&LogSettings { level: level.to_owned(), ..LogSettings::default() }).map(drop)
}

/// The subscriber for these settings. `ansi` colours the text form.
pub(super) fn subscriber<W>(
    settings: &LogSettings,
    writer: W,
    ansi: bool,
) -> Result<impl Subscriber + Send + Sync + use<W>, String>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    Ok(registry().with(filter(settings)?).with(layer(settings.format, writer, ansi)))
}

fn layer<S, W>(format: Format, writer: W, ansi: bool) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    match format {
        Format::Text => fmt::layer().with_writer(writer).with_ansi(ansi).boxed(),
        // Fields at the top level of the object: what log shippers expect.
        Format::Json => fmt::layer().json().flatten_event(true).with_writer(writer).boxed(),
    }
}

/// Later directives replace earlier ones for the same target, and longer targets win.
fn filter(settings: &LogSettings) -> Result<EnvFilter, String> {
    let mut directives = vec![BASE];
    if !settings.level.trim().is_empty() {
        directives.push(&settings.level);
    }
    if !settings.access {
        directives.push("access=off");
    }
    EnvFilter::try_new(directives.join(","))
        .map_err(|error| format!("`{}` is no log filter: {error}", settings.level))
}

#[cfg(test)]
pub(super) mod capture {
    //! Log lines into a string.

    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::util::SubscriberInitExt;

    use super::subscriber;
    use crate::telemetry::LogSettings;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no writer panics").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What `run` logs under these settings, `log` records included.
    pub(in crate::telemetry) fn lines(settings: &LogSettings, run: impl FnOnce()) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let subscriber = subscriber(settings, move || writer.clone(), false).expect("a filter");
        let until_here = subscriber.set_default();
        run();
        drop(until_here);
        let bytes = buffer.0.lock().expect("no writer panics").clone();
        String::from_utf8(bytes).expect("log lines are UTF-8")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(level: &str) -> LogSettings {
        LogSettings { level: level.to_owned(), ..LogSettings::default() }
    }

    #[test]
    fn a_second_initialisation_is_harmless() {
        assert_eq!(init(&settings("info")), Ok(()));
        assert_eq!(init(&settings("warn")), Ok(()));
    }

    #[test]
    fn a_bad_filter_is_reported() {
        let error = check_level("cloakroom=loud").expect_err("`loud` is no level");
        assert!(error.starts_with("`cloakroom=loud` is no log filter:"), "{error}");
        for good in ["info", "", "warn,cloakroom::store=debug", "off"] {
            assert_eq!(check_level(good), Ok(()), "{good:?}");
        }
    }

    #[test]
    fn each_target_has_its_switch() {
        fn check(settings: &LogSettings, expected: &[&str]) {
            let written = capture::lines(settings, || {
                tracing::info!(target: "access", "a-line");
                tracing::info!(target: "audit", "an-event");
                tracing::info!(target: "cloakroom::app", "our-info");
                tracing::warn!(target: "cloakroom::app", "our-warning");
                tracing::debug!(target: "cloakroom::store", "our-detail");
            });
            let messages: Vec<_> =
                written.lines().filter_map(|line| line.split(' ').next_back()).collect();
            assert_eq!(messages, expected, "{settings:?}");
        }
        let all = &["a-line", "an-event", "our-info", "our-warning"];
        check(&settings("info"), all);
        check(&settings(""), all);
        check(&settings("warn"), &["a-line", "an-event", "our-warning"]);
        check(
            &settings("cloakroom::store=debug"),
            &["a-line", "an-event", "our-info", "our-warning", "our-detail"],
        );
        check(&LogSettings { access: false, ..settings("info") }, &all[1..]);
        check(&settings("info,audit=off"), &[all[0], all[2], all[3]]);
        check(&settings("off"), &["a-line", "an-event"]);
    }

    #[test]
    fn json_has_fields_at_the_top() {
        let json = LogSettings { format: Format::Json, ..settings("info") };
        let written = capture::lines(&json, || tracing::info!(port = 8443, "listening"));
        let line: serde_json::Value = serde_json::from_str(&written).expect("one JSON object");
        assert_eq!(line["port"], 8443);
        assert_eq!(line["message"], "listening");
        assert_eq!(line["level"], "INFO");
    }
}
