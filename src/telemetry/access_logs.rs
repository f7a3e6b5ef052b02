//! Which access logs a route has (nginx `access_log`).

use std::sync::Arc;

use super::log_format::LogFormat;
use super::log_writer::{LogWriter, SinkId};
use crate::variables::evaluation::Evaluation;
use crate::variables::template::Template;

/// The access logs of a route, or of a server for requests that have none.
#[derive(Clone, Debug, Default)]
pub enum AccessLogs {
    /// The line of `log.access`.
    #[default]
    Event,
    Off,
    Lines(Arc<[AccessLog]>),
}

/// One access log.
#[derive(Clone, Debug)]
pub struct AccessLog {
    pub sink: SinkId,
    /// The file, where its path has variables.
    pub path: Option<Template>,
    pub format: Arc<LogFormat>,
    /// Lines are written where it is true (nginx `if=`).
    pub condition: Option<Template>,
}

/// Writes a request's lines.
pub fn write(logs: &[AccessLog], writer: &LogWriter, evaluation: &mut Evaluation<'_>) {
    let mut line = Vec::new();
    for log in logs {
        if log.condition.as_ref().is_some_and(|condition| !condition.is_true(evaluation)) {
            continue;
        }
        line.clear();
        log.format.append(evaluation, &mut line);
        match &log.path {
            None => writer.write(log.sink, &line),
            Some(path) => writer.write_to(log.sink, &path.value(evaluation), &line),
        }
    }
}
