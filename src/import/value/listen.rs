//! `listen` of HTTP: an address and what comes with it.

use super::address::{Address, Form, address};
use super::number::{number, size};
use super::time::seconds;
use crate::import::text::until_nul;
use crate::import::tree::Directive;

/// A `listen` directive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    pub address: Address,
    pub default_server: bool,
    pub ssl: bool,
    pub http2: bool,
    pub quic: bool,
    pub proxy_protocol: bool,
    /// A socket of its own for each worker.
    pub reuseport: bool,
    pub deferred: bool,
    pub bind: bool,
    /// Multipath TCP.
    pub multipath: bool,
    pub backlog: Option<u64>,
    pub rcvbuf: Option<u64>,
    pub sndbuf: Option<u64>,
    pub fastopen: Option<u64>,
    pub ipv6only: Option<bool>,
    pub so_keepalive: Option<SoKeepalive>,
}

/// TCP's own keep-alive; what is not said is the system's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SoKeepalive {
    Off,
    On { idle_secs: Option<u64>, interval_secs: Option<u64>, count: Option<u64> },
}

impl Listen {
    /// Reads the arguments of `listen`.
    ///
    /// # Errors
    /// nginx's message, without the place.
    pub fn read(directive: &Directive) -> Result<Self, String> {
        let text = directive.first().unwrap_or_default();
        let address = address(text, Form::Listen)
            .map_err(|wrong| format!("{wrong} in \"{text}\" of the \"listen\" directive"))?;
        let mut listen = Self::at(address);
        for parameter in directive.args.iter().skip(1) {
            listen.parameter(&parameter.text)?;
        }
        listen.compatible()?;
        Ok(listen)
    }

    /// An address without parameters.
    pub fn at(address: Address) -> Self {
        Self {
            address,
            default_server: false,
            ssl: false,
            http2: false,
            quic: false,
            proxy_protocol: false,
            reuseport: false,
            deferred: false,
            bind: false,
            multipath: false,
            backlog: None,
            rcvbuf: None,
            sndbuf: None,
            fastopen: None,
            ipv6only: None,
            so_keepalive: None,
        }
    }

    fn parameter(&mut self, text: &str) -> Result<(), String> {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        let named = |value: Option<u64>| value.ok_or(format!("invalid {name} \"{text}\""));
        match text {
            "default_server" | "default" => self.default_server = true,
            "bind" => self.bind = true,
            "ssl" => self.ssl = true,
            "http2" => self.http2 = true,
            "quic" => self.quic = true,
            "proxy_protocol" => self.proxy_protocol = true,
            "reuseport" => self.reuseport = true,
            "deferred" => self.deferred = true,
            "multipath" => self.multipath = true,
            "ipv6only=on" => self.ipv6only = Some(true),
            "ipv6only=off" => self.ipv6only = Some(false),
            _ if text.starts_with("ipv6only=o") => {
                return Err(format!("invalid ipv6only flags \"{}\"", until_nul(value)));
            }
            _ if !text.contains('=') => return Err(format!("invalid parameter \"{text}\"")),
            _ => match name {
                "backlog" => self.backlog = Some(named(number(value).filter(|n| *n > 0))?),
                "rcvbuf" => self.rcvbuf = Some(named(size(value))?),
                "sndbuf" => self.sndbuf = Some(named(size(value))?),
                "fastopen" => self.fastopen = Some(named(number(value))?),
                "so_keepalive" => self.so_keepalive = Some(so_keepalive(value)?),
                // It is said, and ignored.
                "accept_filter" => {}
                _ => return Err(format!("invalid parameter \"{text}\"")),
            },
        }
        Ok(())
    }

    fn compatible(&self) -> Result<(), String> {
        let other =
            [(self.ssl, "ssl"), (self.http2, "http2"), (self.proxy_protocol, "proxy_protocol")];
        match other.iter().find(|(set, _)| *set && self.quic) {
            Some((_, name)) => Err(format!("\"{name}\" parameter is incompatible with \"quic\"")),
            None => Ok(()),
        }
    }
}

/// `on`, `off`, or idle, interval and count with colons between them.
fn so_keepalive(text: &str) -> Result<SoKeepalive, String> {
    let nothing = SoKeepalive::On { idle_secs: None, interval_secs: None, count: None };
    match text {
        "on" => return Ok(nothing),
        "off" => return Ok(SoKeepalive::Off),
        _ => {}
    }
    let mut parts = text.splitn(3, ':');
    let mut next = |read: fn(&str) -> Option<u64>| match parts.next().unwrap_or_default() {
        "" => Ok(None),
        part => read(part).map(Some).ok_or(()),
    };
    let read = (|| Ok((next(seconds)?, next(seconds)?, next(number)?)))();
    let given = |value: Option<u64>| value.is_some_and(|value| value > 0);
    match read {
        Ok((idle_secs, interval_secs, count))
            if given(idle_secs) || given(interval_secs) || given(count) =>
        {
            Ok(SoKeepalive::On { idle_secs, interval_secs, count })
        }
        Ok(_) | Err(()) => Err(format!("invalid so_keepalive value: \"{}\"", until_nul(text))),
    }
}

#[cfg(test)]
#[path = "listen_tests.rs"]
mod tests;
