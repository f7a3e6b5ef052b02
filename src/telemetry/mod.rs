//! What an operator sees: logs, the access line, audit events, metrics.
//!
//! Everything is one stream of `tracing` events on standard error. Some targets have a meaning of
//! their own and can be filtered by name: `access` (one line a request), `audit` (what happened to
//! sessions and to the store), `cookies` (what is wrong with those of the application), and the rest
//! (what the process itself has to say).

pub mod access;
pub mod access_logs;
pub mod active;
pub mod audit;
pub mod error_log;
pub mod findings;
pub mod labels;
pub mod local_time;
pub mod log;
pub mod log_format;
pub mod log_writer;
pub mod metrics;
pub mod observed;
pub mod recent;
mod series;

/// Form of the logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Format {
    #[default]
    Text,
    Json,
}

/// Logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    pub format: Format,
    /// A `tracing` filter: `info`, `cloakroom=debug`, …
    pub level: String,
    /// Whether access lines are written.
    pub access: bool,
    /// Logs in nginx's form, in place of standard error.
    pub error_logs: Vec<error_log::ErrorLogSettings>,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            format: Format::Text,
            level: "info".to_owned(),
            access: true,
            error_logs: Vec::new(),
        }
    }
}

/// Longest text from a peer that is copied into a log line, in bytes. A request head may be larger
/// than what anybody wants to read.
const PEER_TEXT_BYTES_MAX: usize = 1024;

/// Cuts text that a peer chose to [`PEER_TEXT_BYTES_MAX`]. What it contains is escaped where it is
/// written: the formatters print string fields quoted, with control characters escaped.
fn peer_text(text: &str) -> &str {
    &text[..text.floor_char_boundary(PEER_TEXT_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_text_is_cut_between_characters() {
        let long = format!("{}é", "x".repeat(PEER_TEXT_BYTES_MAX - 1));
        assert_eq!(peer_text(&long).len(), PEER_TEXT_BYTES_MAX - 1);
        assert_eq!(peer_text("short"), "short");
    }
}
