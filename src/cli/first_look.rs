//! `cloakroom --listen 8443 --upstream 127.0.0.1:7001 --session EGG_SESS`: a first look, without any file.
//!
//! The arguments become the text of a configuration, which is read as any other is. What is wrong with it is
//! told by the argument that it came from.

use std::fmt::Write;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use crate::config::diagnostic::{Diagnostic, Diagnostics, Severity};
use crate::config::environment::Environment;
use crate::config::{Config, parse};
use crate::listen::Address;

/// What stands in every message in the place of a file's name.
const SOURCE: &str = "the command line";
const PLAIN: &str = "http://";
const TLS: &str = "https://";

/// What is served, as arguments say it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct FirstLook {
    /// Serve https here, without any file: a port, or an address and a port (several are possible)
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    pub listen: Vec<String>,
    /// Where the application listens: `127.0.0.1:7001`, `https://app:7443`, `unix:/run/app.sock`
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    pub upstream: Vec<String>,
    /// A session cookie of the application, which then stays here
    #[arg(long, value_name = "COOKIE", value_delimiter = ',')]
    pub session: Vec<String>,
}

impl FirstLook {
    /// Whether any of it was given.
    pub fn is_asked_for(&self) -> bool {
        !(self.listen.is_empty() && self.upstream.is_empty() && self.session.is_empty())
    }

    /// The configuration.
    ///
    /// # Errors
    /// All that is wrong with the arguments, one line each.
    pub fn config(&self, environment: &Environment) -> Result<Config, String> {
        let contradictions = self.contradictions();
        if !contradictions.is_empty() {
            return Err(contradictions.join("\n"));
        }
        let mut config =
            parse(&self.yaml(), SOURCE, environment).map_err(|found| self.told(&found))?;
        // What is said at start says the same better.
        let other = |one: &&Diagnostic| !one.path.ends_with(".self_signed");
        config.notices = config.warnings.iter().filter(other).map(|one| self.line(one)).collect();
        Ok(config)
    }

    /// nginx's `-t` and `-T`: whether the arguments make a configuration, and which.
    pub fn test(&self, prints: bool) -> ExitCode {
        match self.config(&Environment::of_process()) {
            Err(problem) => {
                eprintln!("{problem}\ncloakroom: configuration of {SOURCE} test failed");
                ExitCode::FAILURE
            }
            Ok(_) => {
                eprintln!("cloakroom: configuration of {SOURCE} test is successful");
                match prints
                    .then(|| io::Write::write_all(&mut io::stdout(), self.yaml().as_bytes()))
                {
                    Some(Err(_)) => ExitCode::FAILURE,
                    _ => ExitCode::SUCCESS,
                }
            }
        }
    }

    /// What no configuration could say.
    fn contradictions(&self) -> Vec<String> {
        let mut found = Vec::new();
        if self.upstream.is_empty() {
            found.push("--upstream is missing: say where the application listens, as in `--upstream 127.0.0.1:7001`".to_owned());
        }
        if self.listen.is_empty() {
            found.push(
                "--listen is missing: say where browsers come to, as in `--listen 8443`".to_owned(),
            );
        }
        let upstreams: Vec<Upstream> = self.upstream.iter().map(|text| upstream(text)).collect();
        for (given, read) in self.upstream.iter().zip(&upstreams) {
            if read.path.is_some_and(|path| path != "/") {
                found.push(format!(
                    "--upstream {given}: a path is no part of it; requests keep theirs (in a file, `uri:` changes it)"
                ));
            }
            if let Some(listen) = self.listen.iter().find(|listen| is_itself(listen, &read.address))
            {
                found.push(format!(
                    "--upstream {given}: is `--listen {listen}` itself; requests would go round in a circle"
                ));
            }
        }
        let names: Vec<Option<&str>> = upstreams.iter().map(|one| one.tls_name()).collect();
        if names.windows(2).any(|pair| pair[0] != pair[1]) {
            found.push("--upstream: all are one application, so all have https:// and the same host, or none has; write two `upstreams` in a file otherwise".to_owned());
        }
        for (name, given) in
            [("listen", &self.listen), ("upstream", &self.upstream), ("session", &self.session)]
        {
            let twice = given.iter().enumerate().find(|(index, one)| given[..*index].contains(one));
            if let Some((_, twice)) = twice {
                found.push(format!("--{name} {twice}: is given twice; keep one"));
            }
        }
        found
    }

    /// The configuration as a file would have it: what `-T` prints.
    fn yaml(&self) -> String {
        let mut yaml =
            "# Without a file: `cloakroom --listen … --upstream … --session …`.\n\nlisteners:\n"
                .to_owned();
        for listen in &self.listen {
            // Another way of writing it is refused with what to write.
            let address = if listen.parse::<u16>().is_ok() {
                format!("0.0.0.0:{listen}")
            } else {
                listen.clone()
            };
            push(
                &mut yaml,
                format_args!(
                    "  - address: {}\n    tls: {{ self_signed: true }}   # `certificates: [{{ chain: …, key: … }}]` in its place\n",
                    quoted(&address)
                ),
            );
        }
        if !self.session.is_empty() {
            push(&mut yaml, format_args!("\nsessions:\n  app:\n    app_cookies:\n"));
            for cookie in self.cookies() {
                push(&mut yaml, format_args!("      - {}\n", quoted(&cookie)));
            }
            push(
                &mut yaml,
                format_args!(
                    "    # The ticket changes at login once a rule says what a login is:\n    # login: [{{ request: POST /login, success: {{ status: [302] }}, failure: {{ location: /login }} }}]\n    # logout: [{{ request: POST /logout }}]\n"
                ),
            );
        }
        push(&mut yaml, format_args!("\nupstreams:\n  app:\n"));
        let upstreams: Vec<Upstream> = self.upstream.iter().map(|text| upstream(text)).collect();
        if let Some(name) = upstreams.first().and_then(|first| first.tls_name()) {
            push(&mut yaml, format_args!("    tls: {{ server_name: {} }}\n", quoted(name)));
        }
        if upstreams.len() > 1 && !self.session.is_empty() {
            push(
                &mut yaml,
                format_args!(
                    "    balance: session   # for applications that keep sessions in their memory\n"
                ),
            );
        }
        push(&mut yaml, format_args!("    endpoints:\n"));
        for one in &upstreams {
            push(&mut yaml, format_args!("      - address: {}\n", quoted(&one.address)));
        }
        let session = if self.session.is_empty() { "" } else { ", session: app" };
        push(
            &mut yaml,
            format_args!(
                "\nservers:\n  - routes:\n      - {{ path: /, upstream: app{session} }}\n"
            ),
        );
        yaml
    }

    /// The session cookies, each with the signature that Koa, Egg and Express send beside it.
    fn cookies(&self) -> Vec<String> {
        let mut cookies = Vec::new();
        for name in &self.session {
            for name in [name.clone(), format!("{name}.sig")] {
                if !name.ends_with(".sig.sig") && !cookies.contains(&name) {
                    cookies.push(name);
                }
            }
        }
        cookies
    }

    fn told(&self, found: &Diagnostics) -> String {
        let errors = found.iter().filter(|one| one.severity == Severity::Error);
        errors.map(|one| self.line(one)).collect::<Vec<_>>().join("\n")
    }

    /// A finding by the argument that it came from.
    fn line(&self, found: &Diagnostic) -> String {
        let index = |prefix: &str| -> Option<usize> {
            found.path.strip_prefix(prefix)?.split(']').next()?.parse().ok()
        };
        let cookies = self.cookies();
        let argument = [
            ("listen", "listeners[", &self.listen),
            ("upstream", "upstreams.app.endpoints[", &self.upstream),
            ("session", "sessions.app.app_cookies[", &cookies),
        ]
        .into_iter()
        .find_map(|(name, prefix, given)| Some(format!("--{name} {}", given.get(index(prefix)?)?)));
        let place = argument.unwrap_or_else(|| found.path.clone());
        let help = if found.help.is_empty() { String::new() } else { format!("; {}", found.help) };
        format!("{place}: {}{help}", found.message)
    }

    /// What is served where, and what a real deployment adds.
    pub fn said(&self, config: &Config, current: &Path) -> String {
        let mut text = String::new();
        for listener in &config.listeners {
            push(
                &mut text,
                format_args!(
                    "Serving {} from {}.\n",
                    shown(&listener.address),
                    self.upstream.join(", ")
                ),
            );
        }
        text.push_str(
            "  The certificate is self-signed: `curl -k`, or an exception in the browser.\n",
        );
        match config.sessions.first() {
            Some(policy) => push(
                &mut text,
                format_args!(
                    "  {} stay here; browsers carry the ticket {}.\n",
                    self.cookies().join(", "),
                    policy.cookie.name,
                ),
            ),
            None => text.push_str(
                "  No session cookie is kept here: name the application's with `--session`.\n",
            ),
        }
        text.push_str("  Every other cookie leaves with Secure, HttpOnly and SameSite.\n");
        push(
            &mut text,
            format_args!(
                "  Key ring, sessions and certificate are kept in {}.\n",
                current.join(&config.state_directory).display()
            ),
        );
        text.push_str(
            "\nA real deployment says in a file what this cannot; the same arguments with -T print one to begin with:\n\
             \x20 listeners.tls.certificates, servers.names   a certificate that browsers trust, for names of yours\n\
             \x20 sessions.app.login, logout                  rules by which the ticket changes at login, and ends\n\
             \x20 keyring, store                              shared by several nodes\n",
        );
        text
    }
}

/// One `--upstream`, read as far as its text goes.
struct Upstream<'a> {
    is_tls: bool,
    address: String,
    host: &'a str,
    path: Option<&'a str>,
}

impl<'a> Upstream<'a> {
    /// The name in its certificate.
    fn tls_name(&self) -> Option<&'a str> {
        self.is_tls.then_some(self.host)
    }
}

/// Reads `7001`, `host:7001`, `http://host`, `https://host:7443/`; what is none of them is left for the check.
fn upstream(text: &str) -> Upstream<'_> {
    let (is_tls, default, rest) = match (text.strip_prefix(TLS), text.strip_prefix(PLAIN)) {
        (Some(rest), _) => (true, Some(443), rest),
        (_, Some(rest)) => (false, Some(80), rest),
        _ => (false, None, text),
    };
    let (authority, path) = match rest.find('/').filter(|_| default.is_some()) {
        Some(slash) => (&rest[..slash], Some(&rest[slash..])),
        None => (rest, None),
    };
    let port = authority.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok());
    let (host, address) = match (port, default) {
        (Some((host, _)), _) => (host, authority.to_owned()),
        (None, Some(port)) => (authority, format!("{authority}:{port}")),
        (None, None) if authority.parse::<u16>().is_ok() => ("", format!("127.0.0.1:{authority}")),
        (None, None) => (authority, authority.to_owned()),
    };
    Upstream { is_tls, address, host: host.trim_start_matches('[').trim_end_matches(']'), path }
}

/// Whether an upstream is where we listen.
fn is_itself(listen: &str, upstream: &str) -> bool {
    let listen =
        if listen.parse::<u16>().is_ok() { format!("0.0.0.0:{listen}") } else { listen.to_owned() };
    let (Some((ours, port)), Some((theirs, other))) =
        (listen.rsplit_once(':'), upstream.rsplit_once(':'))
    else {
        return false;
    };
    let is_here =
        |host: &str| matches!(host, "127.0.0.1" | "localhost" | "[::1]" | "0.0.0.0" | "[::]");
    listen == upstream || port == other && is_here(ours) && is_here(theirs)
}

/// An address as one opens it.
fn shown(address: &Address) -> String {
    match address.tcp() {
        None => match address {
            Address::Unix(path) => format!("https on unix:{}", path.display()),
            Address::Tcp(address) => format!("https://{address}/"),
        },
        Some(address) => {
            let is_ours = address.ip().is_unspecified()
                || [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]
                    .contains(&address.ip());
            let everywhere = if address.ip().is_unspecified() {
                " (on every address of this machine)"
            } else {
                ""
            };
            match is_ours {
                true => format!("https://localhost:{}/{everywhere}", address.port()),
                false => format!("https://{address}/"),
            }
        }
    }
}

/// A text in YAML, whatever is in it.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("a string takes what is written to it");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::environment::testing::Given;

    fn look(line: &str) -> FirstLook {
        let mut look = FirstLook::default();
        let mut words = line.split(' ');
        while let (Some(name), Some(value)) = (words.next(), words.next()) {
            let list = match name {
                "--listen" => &mut look.listen,
                "--upstream" => &mut look.upstream,
                _ => &mut look.session,
            };
            list.push(value.to_owned());
        }
        look
    }

    fn config(line: &str) -> Result<Config, String> {
        look(line).config(&Given::default().environment())
    }

    #[track_caller]
    fn refused(line: &str, expected: &[&str]) {
        let told = config(line).map(|_| ()).expect_err("it is refused");
        assert_eq!(told.lines().collect::<Vec<_>>(), expected, "{line}");
    }

    #[test]
    fn arguments_make_a_configuration_with_a_vault() {
        let config = config("--listen 8443 --listen [::1]:9443 --upstream 7001 --upstream http://127.0.0.1:7002/ --session EGG_SESS --session csrf")
            .expect("it is good");
        let listeners: Vec<String> = config
            .listeners
            .iter()
            .filter_map(|one| Some(one.address.tcp()?.to_string()))
            .collect();
        assert_eq!(listeners, ["0.0.0.0:8443", "[::1]:9443"]);
        assert!(config.listeners.iter().all(|one| one.tls.is_some()));
        assert_eq!(config.upstreams[0].endpoints.len(), 2);
        assert_eq!(config.sessions[0].cookie.name, "__Host-app");
        assert_eq!(config.notices, Vec::<String>::new());
        assert_eq!(config.state_directory, Path::new("cloakroom-state"));
    }

    #[test]
    fn what_is_printed_is_what_is_served() {
        let look =
            look("--listen 127.0.0.1:8443 --upstream https://app.example:7443 --session sid");
        let yaml = look.yaml();
        for part in [
            "\"127.0.0.1:8443\"",
            "server_name: \"app.example\"",
            "- \"sid\"",
            "- \"sid.sig\"",
            "session: app",
        ] {
            assert!(yaml.contains(part), "{part} is missing from\n{yaml}");
        }
    }

    #[test]
    fn contradictions_are_told_all_at_once() {
        refused(
            "--session sid",
            &[
                "--upstream is missing: say where the application listens, as in `--upstream 127.0.0.1:7001`",
                "--listen is missing: say where browsers come to, as in `--listen 8443`",
            ],
        );
        refused(
            "--listen 8443 --listen 8443 --upstream localhost:8443 --session a --session a",
            &[
                "--upstream localhost:8443: is `--listen 8443` itself; requests would go round in a circle",
                "--listen 8443: is given twice; keep one",
                "--session a: is given twice; keep one",
            ],
        );
        refused(
            "--listen 8443 --upstream https://a:1 --upstream b:1",
            &[
                "--upstream: all are one application, so all have https:// and the same host, or none has; write two `upstreams` in a file otherwise",
            ],
        );
        refused(
            "--listen 8443 --upstream http://127.0.0.1:7001/app",
            &[
                "--upstream http://127.0.0.1:7001/app: a path is no part of it; requests keep theirs (in a file, `uri:` changes it)",
            ],
        );
    }

    #[test]
    fn mistakes_are_told_by_their_argument() {
        let told = config("--listen 80x --upstream app --session a;b")
            .map(|_| ())
            .expect_err("it is refused");
        for begin in ["--listen 80x: ", "--upstream app: ", "--session a;b: "] {
            assert!(told.lines().any(|line| line.starts_with(begin)), "{begin}\n{told}");
        }
        // What would be YAML of its own is text.
        let told = config("--listen 8443 --upstream x\"\n--- --session sid")
            .map(|_| ())
            .expect_err("it is refused");
        assert!(told.starts_with("--upstream x"), "{told}");
    }

    #[test]
    fn what_is_served_where_is_said_in_a_few_lines() {
        let line = "--listen 8443 --upstream 127.0.0.1:7001 --session EGG_SESS";
        let config = config(line).expect("it is good");
        let said = look(line).said(&config, Path::new("/srv"));
        for part in [
            "Serving https://localhost:8443/ (on every address of this machine) from 127.0.0.1:7001.",
            "EGG_SESS, EGG_SESS.sig stay here; browsers carry the ticket __Host-app.",
            "kept in /srv/cloakroom-state.",
            "sessions.app.login",
        ] {
            assert!(said.contains(part), "{part} is missing from\n{said}");
        }
    }
}
