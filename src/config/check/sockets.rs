//! What a listener asks of its socket.

use std::time::Duration;

use super::{Checker, at};
use crate::config::schema::Listener;
use crate::config::value::unit::{Zero, duration, size};
use crate::config::value::{Flaw, Parsed};
use crate::listen::SocketSettings;
use crate::listen::socket::SocketKeepalive;

const KEEPALIVE_HELP: &str =
    "write on, off, or how long it is idle, how long between probes, and how many: 30m::10";

impl Checker<'_> {
    pub(super) fn socket(&mut self, listener: &Listener, path: &str) -> SocketSettings {
        let bytes = |text: &str| Ok(usize::try_from(size(text)?).unwrap_or(usize::MAX));
        if let Some(backlog) = listener.backlog.as_ref().filter(|backlog| backlog.value == 0) {
            let flaw = Flaw::new("must be at least 1", "no connection could wait");
            self.error(at(backlog), &format!("{path}.backlog"), flaw);
        }
        let keepalive =
            self.optional(&listener.so_keepalive, &format!("{path}.so_keepalive"), keepalive);
        SocketSettings {
            backlog: listener.backlog.as_ref().map(|backlog| backlog.value),
            receive_bytes: self.optional(&listener.rcvbuf, &format!("{path}.rcvbuf"), bytes),
            send_bytes: self.optional(&listener.sndbuf, &format!("{path}.sndbuf"), bytes),
            takes_v4: listener.ipv6only.as_ref().is_some_and(|only| !only.value),
            keepalive,
        }
    }
}

fn keepalive(text: &str) -> Parsed<SocketKeepalive> {
    let flaw = || Flaw::new(format!("`{text}` is no keep-alive"), KEEPALIVE_HELP);
    match text {
        "off" | "false" => return Ok(SocketKeepalive::Off),
        "on" | "true" => {
            return Ok(SocketKeepalive::On { idle: None, interval: None, probes: None });
        }
        _ => {}
    }
    let mut parts = text.split(':').map(|part| Some(part).filter(|part| !part.is_empty()));
    let (Some(idle), Some(interval), Some(probes), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(flaw());
    };
    let time = |part: Option<&str>| -> Parsed<Option<Duration>> {
        part.map(|part| duration(part, Zero::Refused)).transpose()
    };
    let probes = probes.map(|part| part.parse::<u32>().map_err(|_| flaw())).transpose()?;
    let (idle, interval) = (time(idle)?, time(interval)?);
    if idle.is_none() && interval.is_none() && probes.is_none() {
        return Err(flaw());
    }
    Ok(SocketKeepalive::On { idle, interval, probes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keep_alive_is_as_in_nginx() {
        let on = |idle: Option<u64>, interval: Option<u64>, probes| {
            let time = |secs: Option<u64>| secs.map(Duration::from_secs);
            Ok(SocketKeepalive::On { idle: time(idle), interval: time(interval), probes })
        };
        assert_eq!(keepalive("on"), on(None, None, None));
        assert_eq!(keepalive("off"), Ok(SocketKeepalive::Off));
        assert_eq!(keepalive("30m::10"), on(Some(1800), None, Some(10)));
        assert_eq!(keepalive(":5s:"), on(None, Some(5), None));
        for text in ["", "::", "30m", "30m:5s", "1:2:3", "30m::x", "a::1", "1s:1s:1:1"] {
            assert!(keepalive(text).is_err(), "{text}");
        }
    }
}
