//! `error_log`: what the process says, in nginx's form, in place of standard error.

use super::Checker;
use super::access_logs::syslog;
use super::cursor::At;
use crate::config::schema::{ErrorLog, File, Several, ShortOr};
use crate::config::value::{Flaw, choice};
use crate::telemetry::error_log::{Destination, ErrorLogSettings, Severity};

impl Checker<'_> {
    pub(super) fn error_logs(&mut self, file: &File) -> Vec<ErrorLogSettings> {
        let Some(given) = &file.error_log else { return Vec::new() };
        let at = At::new("error_log", given);
        let Several(logs) = at.value;
        let read = logs.iter().enumerate().map(|(index, log)| {
            let path = match logs.as_slice() {
                [_] => at.path.clone(),
                _ => format!("{}[{index}]", at.path),
            };
            match log {
                ShortOr::Short(text) => {
                    self.error_log(&At { value: text, path, place: at.place }, None)
                }
                ShortOr::Long(log) => {
                    let log = At { value: log, path, place: at.place };
                    let Some(to) = log.key("path", &log.value.path) else {
                        let help = "add `path: /var/log/cloakroom/error.log`";
                        self.error_at(&log, Flaw::new("goes nowhere", help));
                        return None;
                    };
                    self.error_log(&to, Some(&log))
                }
            }
        });
        read.collect::<Vec<_>>().into_iter().flatten().collect()
    }

    fn error_log(
        &mut self,
        to: &At<'_, String>,
        log: Option<&At<'_, ErrorLog>>,
    ) -> Option<ErrorLogSettings> {
        let level = log.and_then(|log| log.key("level", &log.value.level));
        let severity = match &level {
            None => Severity::Error,
            Some(level) => self.read(Some(level), |text| choice(text, "level", &Severity::ALL))?,
        };
        let to = match to.value.strip_prefix("syslog:") {
            Some(parameters) => Destination::Syslog(self.read(Some(to), |_| syslog(parameters))?),
            None if to.value == "stderr" => Destination::Stderr,
            None => Destination::File(self.path(to.value)),
        };
        Some(ErrorLogSettings { to, severity })
    }
}
