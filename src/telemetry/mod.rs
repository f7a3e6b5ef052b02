//! What an operator sees: logs, the access line, audit events, metrics.

/// Form of the logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Format {
    #[default]
    Text,
    Json,
}

/// Logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub format: Format,
    /// A `tracing` filter: `info`, `cloakroom=debug`, …
    pub level: String,
    /// Whether access lines are written.
    pub access: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { format: Format::Text, level: "info".to_owned(), access: true }
    }
}
