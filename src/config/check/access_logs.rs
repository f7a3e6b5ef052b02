//! `log_formats` and `access_log`: what lines say, where they go, and when they are written.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::schema::{AccessLog, File, Several, ShortOr};
use crate::config::value::unit::{Zero, duration, size};
use crate::config::value::{Flaw, Parsed, choice, did_you_mean};
use crate::telemetry::access_logs::{self, AccessLogs};
use crate::telemetry::log_format::{COMBINED, Escape, LogFormat};
use crate::telemetry::log_writer::{
    FileSettings, SinkId, SinkSettings, SyslogServer, SyslogSettings,
};

use super::Checker;
use super::cursor::{At, Found};
use super::variables::{entries, flaw_of};

const DEFAULT_FORMAT: &str = "combined";
/// nginx's default where lines are compressed.
const GZIP_BUFFER: usize = 64 * 1024;
/// nginx's default: facility `local7`.
const FACILITY: u8 = 23;
/// nginx's default: severity `info`.
const SEVERITY: u8 = 6;

impl Checker<'_> {
    /// The formats that lines may have; `combined` is there already.
    pub(super) fn log_formats(&mut self, file: &File) {
        const ESCAPES: [(&str, Escape); 3] =
            [("default", Escape::Default), ("json", Escape::Json), ("none", Escape::None)];
        let combined = At { value: &COMBINED.to_owned(), path: String::new(), place: None };
        self.log_format(DEFAULT_FORMAT, &combined, Escape::Default);
        for (name, at) in entries("log_formats", file.log_formats.as_ref()) {
            if self.formats.iter().any(|(taken, _)| taken == name.value) {
                let message = format!("duplicate log format name \"{}\"", name.value);
                self.error_at(&name, Flaw::new(message, "it is there already: choose another"));
                continue;
            }
            match at.value {
                ShortOr::Short(text) => {
                    let At { path, place, .. } = &at;
                    let text = At { value: text, path: path.clone(), place: *place };
                    self.log_format(name.value, &text, Escape::Default);
                }
                ShortOr::Long(given) => {
                    let escape = at.key("escape", &given.escape);
                    let escape =
                        self.read(escape.as_ref(), |text| choice(text, "way to escape", &ESCAPES));
                    match at.key("format", &given.format) {
                        Some(text) => {
                            self.log_format(name.value, &text, escape.unwrap_or_default());
                        }
                        None => {
                            let flaw =
                                Flaw::new("is missing", "add `format: $remote_addr $status`");
                            self.error(at.place, &at.path_of("format"), flaw);
                        }
                    }
                }
            }
        }
    }

    fn log_format(&mut self, name: &str, text: &At<'_, String>, escape: Escape) {
        let format = LogFormat::compile(text.value, escape, &mut self.registry);
        self.note_mentions(text);
        match format {
            Ok(format) => self.formats.push((name.to_owned(), Arc::new(format))),
            Err(bad) => self.error_at(text, flaw_of(&bad)),
        }
    }

    /// The logs of a route or of a server.
    pub(super) fn access_logs(
        &mut self,
        found: Option<Found<'_, Several<AccessLog>>>,
    ) -> AccessLogs {
        let Some(Found { at, .. }) = found else { return AccessLogs::Event };
        let Several(given) = at.value;
        if let [ShortOr::Short(word)] = given.as_slice()
            && word == "off"
        {
            return AccessLogs::Off;
        }
        let mut logs = Vec::new();
        for (index, log) in given.iter().enumerate() {
            let path = match given.as_slice() {
                [_] => at.path.clone(),
                _ => format!("{}[{index}]", at.path),
            };
            logs.extend(match log {
                ShortOr::Short(text) => {
                    let to = At { value: text, path, place: at.place };
                    self.access_log(&to, None)
                }
                ShortOr::Long(log) => {
                    let log = At { value: log, path, place: at.place };
                    match log.key("path", &log.value.path) {
                        Some(to) => self.access_log(&to, Some(&log)),
                        None => {
                            let help = "add `path: /var/log/cloakroom/access.log`";
                            self.error_at(&log, Flaw::new("goes nowhere", help));
                            None
                        }
                    }
                }
            });
        }
        AccessLogs::Lines(logs.into())
    }

    fn access_log(
        &mut self,
        to: &At<'_, String>,
        log: Option<&At<'_, AccessLog>>,
    ) -> Option<access_logs::AccessLog> {
        if to.value == "off" {
            let flaw = Flaw::new("stands beside others", "`off` is all or nothing: leave it out");
            self.error_at(to, flaw);
            return None;
        }
        let format = log.and_then(|log| log.key("format", &log.value.format));
        let condition = log.and_then(|log| log.key("if", &log.value.condition));
        let condition = condition.and_then(|condition| self.template(&condition));
        let format = self.format(format.as_ref());
        let path = match to.value.contains('$') && !to.value.starts_with("syslog:") {
            true => {
                let full = self.path(to.value).display().to_string();
                let At { path, place, .. } = to;
                Some(self.template(&At { value: &full, path: path.clone(), place: *place })?)
            }
            false => None,
        };
        let settings = match path {
            Some(_) => SinkSettings::Paths,
            None => self.sink(to, log)?,
        };
        self.unbuffered(&settings, log);
        let sink = self.sink_of(to, settings)?;
        Some(access_logs::AccessLog { sink, path, format: format?, condition })
    }

    fn format(&mut self, name: Option<&At<'_, String>>) -> Option<Arc<LogFormat>> {
        let wanted = name.map_or(DEFAULT_FORMAT, |name| name.value);
        let found = self.formats.iter().find(|(known, _)| known.eq_ignore_ascii_case(wanted));
        if let (None, Some(name)) = (found, name) {
            let known: Vec<&str> = self.formats.iter().map(|(name, _)| name.as_str()).collect();
            let help = format!("{}defined: {}", did_you_mean(wanted, &known), known.join(", "));
            let flaw = Flaw::new(format!("unknown log format \"{wanted}\""), help);
            self.error_at(name, flaw);
            return None;
        }
        found.map(|(_, format)| format.clone())
    }

    fn sink(
        &mut self,
        to: &At<'_, String>,
        log: Option<&At<'_, AccessLog>>,
    ) -> Option<SinkSettings> {
        if let Some(parameters) = to.value.strip_prefix("syslog:") {
            return self.read(Some(to), |_| syslog(parameters)).map(SinkSettings::Syslog);
        }
        if to.value == "stderr" {
            return Some(SinkSettings::Stderr);
        }
        let buffer = log.and_then(|log| log.key("buffer", &log.value.buffer));
        let flush = log.and_then(|log| log.key("flush", &log.value.flush));
        let gzip = log.and_then(|log| log.key("gzip", &log.value.gzip));
        let gzip = self.read(gzip.as_ref(), gzip_level).flatten();
        if let (Some(flush), None, None) = (&flush, &buffer, gzip) {
            let message = format!("no buffer is defined for access_log \"{}\"", to.value);
            self.error_at(flush, Flaw::new(message, "add `buffer: 64KiB`, or leave `flush` out"));
        }
        Some(SinkSettings::File(FileSettings {
            path: self.path(to.value),
            buffer: self.read(buffer.as_ref(), buffer_size).or(gzip.map(|_| GZIP_BUFFER)),
            flush: self.read(flush.as_ref(), |text| duration(text, Zero::Refused)),
            gzip,
        }))
    }

    /// Only files with one name have buffers.
    fn unbuffered(&mut self, settings: &SinkSettings, log: Option<&At<'_, AccessLog>>) {
        let message = match settings {
            SinkSettings::File(_) => return,
            SinkSettings::Paths => "buffered logs cannot have variables in name",
            SinkSettings::Syslog(_) => "logs to syslog cannot be buffered",
            SinkSettings::Stderr => "logs to standard error cannot be buffered",
        };
        let Some(log) = log else { return };
        let given = log.value;
        let keys = [("buffer", &given.buffer), ("flush", &given.flush), ("gzip", &given.gzip)];
        for given in keys.into_iter().filter_map(|(key, given)| log.key(key, given)) {
            self.error_at(&given, Flaw::new(message, "leave it out"));
        }
    }

    /// Each place once, whoever writes there.
    fn sink_of(&mut self, to: &At<'_, String>, settings: SinkSettings) -> Option<SinkId> {
        let is_same = |other: &SinkSettings| match (other, &settings) {
            (SinkSettings::File(other), SinkSettings::File(file)) => other.path == file.path,
            (other, settings) => other == settings,
        };
        let Some(index) = self.sinks.iter().position(is_same) else {
            self.sinks.push(settings);
            return Some(SinkId(self.sinks.len() - 1));
        };
        // Without a buffer of its own, it goes through the one that is there, as in nginx.
        if let (SinkSettings::File(one), SinkSettings::File(other)) =
            (&mut self.sinks[index], &settings)
            && one != other
        {
            match (one.buffer, other.buffer) {
                (_, None) => {}
                (None, Some(_)) => *one = other.clone(),
                (Some(_), Some(_)) => {
                    let message = format!(
                        "access_log \"{}\" already defined with conflicting parameters",
                        to.value
                    );
                    let help = "one file has one `buffer` and one `flush`: say the same everywhere";
                    self.error_at(to, Flaw::new(message, help));
                    return None;
                }
            }
        }
        Some(SinkId(index))
    }
}

/// nginx's default level is the fastest.
fn gzip_level(text: &str) -> Parsed<Option<u32>> {
    match text {
        "false" => Ok(None),
        "true" => Ok(Some(1)),
        _ => match text.parse() {
            Ok(level @ 1..=9) => Ok(Some(level)),
            _ => Err(Flaw::new(
                format!("invalid compression level \"{text}\""),
                "write `true`, or a level from 1 to 9",
            )),
        },
    }
}

fn buffer_size(text: &str) -> Parsed<usize> {
    const MAX: u64 = 4 * 1024 * 1024;
    match size(text)? {
        0 => Err(Flaw::new("must be more than nothing", "write `64KiB`")),
        bytes if bytes > MAX => Err(Flaw::new(format!("`{text}` is too large"), "4MiB at most")),
        bytes => usize::try_from(bytes).map_err(|_| Flaw::new("is too large", "4MiB at most")),
    }
}

/// `server=ADDRESS[:PORT]|unix:PATH[,facility=…][,severity=…][,tag=…][,nohostname]`, as in nginx.
pub(super) fn syslog(parameters: &str) -> Parsed<SyslogSettings> {
    const FACILITIES: [&str; 24] = [
        "kern", "user", "mail", "daemon", "auth", "intern", "lpr", "news", "uucp", "clock",
        "authpriv", "ftp", "ntp", "audit", "alert", "cron", "local0", "local1", "local2", "local3",
        "local4", "local5", "local6", "local7",
    ];
    const SEVERITIES: [&str; 8] =
        ["emerg", "alert", "crit", "error", "warn", "notice", "info", "debug"];
    let mut server = None;
    let (mut facility, mut severity, mut has_hostname) = (FACILITY, SEVERITY, true);
    let mut tag = "nginx".to_owned();
    for parameter in parameters.split(',') {
        let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        match key {
            "server" => server = Some(syslog_server(value)?),
            "facility" => facility = position(value, "syslog facility", &FACILITIES)?,
            "severity" => severity = position(value, "syslog severity", &SEVERITIES)?,
            "tag" => tag = syslog_tag(value)?,
            "nohostname" => has_hostname = false,
            _ => {
                return Err(Flaw::new(
                    format!("unknown syslog parameter \"{parameter}\""),
                    "known here: server, facility, severity, tag, nohostname",
                ));
            }
        }
    }
    let help = "write `syslog:server=127.0.0.1:514`, or `syslog:server=unix:/dev/log`";
    let server = server.ok_or_else(|| Flaw::new("no syslog server specified", help))?;
    Ok(SyslogSettings { server, priority: facility * 8 + severity, tag, has_hostname })
}

fn syslog_server(text: &str) -> Parsed<SyslogServer> {
    const PORT: u16 = 514;
    if let Some(path) = text.strip_prefix("unix:") {
        return Ok(SyslogServer::Unix(PathBuf::from(path)));
    }
    let address = text.parse::<SocketAddr>().ok().or_else(|| {
        let bare = text.trim_start_matches('[').trim_end_matches(']');
        Some(SocketAddr::new(bare.parse::<IpAddr>().ok()?, PORT))
    });
    let flaw = || Flaw::new(format!("`{text}` is no address"), "write `127.0.0.1:514`");
    address.map(SyslogServer::Udp).ok_or_else(flaw)
}

fn syslog_tag(text: &str) -> Parsed<String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    match text.len() <= 32 && text.bytes().all(fits) {
        true => Ok(text.to_owned()),
        false => Err(Flaw::new(
            format!("`{text}` is no syslog tag"),
            "32 letters, digits and `_` at most",
        )),
    }
}

fn position(text: &str, what: &str, words: &[&str]) -> Parsed<u8> {
    let numbered: Vec<(&str, u8)> = words.iter().copied().zip(0..).collect();
    choice(text, what, &numbered)
}
