//! `server` of an upstream: an address and what comes with it.

use super::address::{Address, Form, address};
use super::number::number;
use super::time::seconds;
use crate::import::tree::Directive;

/// A `server` directive of an `upstream` block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// As written, which is what balancing by hash goes by.
    pub name: String,
    pub address: Address,
    pub weight: u64,
    pub max_conns: u64,
    pub max_fails: u64,
    pub fail_timeout_secs: u64,
    pub slow_start_secs: u64,
    pub backup: bool,
    pub down: bool,
    pub drain: bool,
    /// Its name is looked up again and again.
    pub resolve: bool,
    /// The service of an SRV record.
    pub service: Option<String>,
    /// What a sticky cookie calls it.
    pub route: Option<String>,
}

impl Server {
    /// Reads the arguments of `server`.
    ///
    /// # Errors
    /// nginx's message, without the place.
    pub fn read(directive: &Directive) -> Result<Self, String> {
        let text = directive.first().unwrap_or_default();
        // nginx looks at the parameters first.
        let mut server = Self::with(text);
        for parameter in directive.args.iter().skip(1) {
            server.parameter(&parameter.text)?;
        }
        server.address = address(text, Form::Server)
            .map_err(|wrong| format!("{wrong} in upstream \"{text}\""))?;
        Ok(server)
    }

    /// A server without parameters, its address not read yet.
    fn with(name: &str) -> Self {
        let host = super::address::Host::Name(name.to_owned());
        Self {
            name: name.to_owned(),
            address: Address { host, port: None, last_port: None },
            weight: 1,
            max_conns: 0,
            max_fails: 1,
            fail_timeout_secs: 10,
            slow_start_secs: 0,
            backup: false,
            down: false,
            drain: false,
            resolve: false,
            service: None,
            route: None,
        }
    }

    fn parameter(&mut self, text: &str) -> Result<(), String> {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        let invalid = || format!("invalid parameter \"{text}\"");
        match text {
            "backup" => self.backup = true,
            "down" => self.down = true,
            "drain" => self.drain = true,
            "resolve" => self.resolve = true,
            _ => match name {
                "weight" => {
                    self.weight = number(value).filter(|weight| *weight > 0).ok_or_else(invalid)?;
                }
                "max_conns" => self.max_conns = number(value).ok_or_else(invalid)?,
                "max_fails" => self.max_fails = number(value).ok_or_else(invalid)?,
                "fail_timeout" => self.fail_timeout_secs = seconds(value).ok_or_else(invalid)?,
                "slow_start" => self.slow_start_secs = seconds(value).ok_or_else(invalid)?,
                "service" if !value.is_empty() => self.service = Some(value.to_owned()),
                "route" if !value.is_empty() => self.route = Some(value.to_owned()),
                _ => return Err(invalid()),
            },
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Server;
    use crate::import::read::tests::one;

    #[track_caller]
    fn check(args: &str, expected: Result<fn(&mut Server), &str>) {
        let read = Server::read(&one(&format!("server {args};")));
        let expected = expected.map_err(str::to_owned).map(|change| {
            let mut server = Server::read(&one("server 127.0.0.1:80;")).expect("it reads");
            change(&mut server);
            server
        });
        assert_eq!(read, expected, "{args}");
    }

    #[test]
    fn parameters_of_a_server() {
        check(
            "127.0.0.1:80 weight=2 max_fails=0 fail_timeout=1m",
            Ok(|server| {
                (server.weight, server.max_fails, server.fail_timeout_secs) = (2, 0, 60);
            }),
        );
        check(
            "127.0.0.1:80 backup max_conns=5",
            Ok(|server| {
                (server.backup, server.max_conns) = (true, 5);
            }),
        );
        check(
            "127.0.0.1:80 down slow_start=30s",
            Ok(|server| {
                (server.down, server.slow_start_secs) = (true, 30);
            }),
        );
        check(
            "127.0.0.1:80 resolve service=http route=a drain",
            Ok(|server| {
                (server.resolve, server.drain) = (true, true);
                (server.service, server.route) = (Some("http".to_owned()), Some("a".to_owned()));
            }),
        );
    }

    #[test]
    fn wrong_servers_are_named_as_by_nginx() {
        for (text, expected) in [
            ("a b", "invalid parameter \"b\""),
            ("127.0.0.1:0", "invalid port in upstream \"127.0.0.1:0\""),
            (":80", "no host in upstream \":80\""),
            ("\"\"", "no host in upstream \"\""),
            ("127.0.0.1/x", "invalid host in upstream \"127.0.0.1/x\""),
            ("unix:", "no path in the unix domain socket in upstream \"unix:\""),
            ("127.0.0.1:0 weight=0", "invalid parameter \"weight=0\""),
            ("a weight=", "invalid parameter \"weight=\""),
            ("a fail_timeout=500ms", "invalid parameter \"fail_timeout=500ms\""),
            ("a max_conns=x", "invalid parameter \"max_conns=x\""),
        ] {
            check(text, Err(expected));
        }
    }
}
