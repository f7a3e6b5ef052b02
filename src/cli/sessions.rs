//! `cloakroom sessions`: asks a running process, over its admin listener.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::{ArgGroup, Args, Subcommand};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::admin::Address;
use crate::config;

/// How long the process may take to connect, to be written to, to answer. The store's own deadlines
/// are far below.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A thousand sessions with all that is shown of them fit.
const ANSWER_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// `cloakroom sessions …`
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Sessions {
    /// List a user's sessions
    List {
        /// The user's name, in any case
        #[arg(long, value_name = "NAME")]
        subject: String,
        /// Of these users alone: what session policies have in `users`. All by default
        #[arg(long, value_name = "NAME")]
        users: Option<String>,
        #[command(flatten)]
        place: Place,
    },
    /// End sessions, on every node
    #[command(group(ArgGroup::new("what").required(true)))]
    Revoke {
        /// All sessions of this user
        #[arg(long, value_name = "NAME", group = "what")]
        subject: Option<String>,
        /// Of these users alone: what session policies have in `users`. All by default
        #[arg(long, value_name = "NAME", conflicts_with_all = ["session", "all"])]
        users: Option<String>,
        /// One session, by what workers have in X-Session-Id
        #[arg(long, value_name = "ID", group = "what")]
        session: Option<String>,
        /// Every session of everybody
        #[arg(long, group = "what")]
        all: bool,
        #[command(flatten)]
        place: Place,
    },
}

/// Where the process is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct Place {
    /// The admin listener (`unix:PATH` or `HOST:PORT`) in place of the configuration's
    #[arg(long, value_name = "ADDRESS")]
    pub admin: Option<String>,
}

impl Sessions {
    /// Asks, and returns what is to be printed.
    ///
    /// # Errors
    /// Nothing was acknowledged: why, and what to do.
    pub fn run(&self, config: &Path) -> Result<String, String> {
        match self {
            Self::List { subject, users, place } => {
                let encoded = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
                let users = users.as_ref().map(|users| format!("&users={}", encoded(users)));
                let (subject, users) = (encoded(subject), users.unwrap_or_default());
                let head = format!("GET /sessions?subject={subject}{users} HTTP/1.1\r\n");
                let answer = ask(&place.address(config)?, &head, "")?;
                list(&answer)
            }
            Self::Revoke { subject, users, session, all: _, place } => {
                let (body, done) = match (subject, session) {
                    (Some(subject), _) if let Some(users) = users => (
                        json!({ "subject": subject, "users": users }),
                        format!(
                            "every session of {} of {} has ended",
                            shown(subject),
                            shown(users)
                        ),
                    ),
                    (Some(subject), _) => (
                        json!({ "subject": subject }),
                        format!("every session of {} has ended", shown(subject)),
                    ),
                    (None, Some(session)) => (
                        json!({ "session": session }),
                        format!("the session {} has ended", shown(session)),
                    ),
                    (None, None) => {
                        (json!({ "all": true }), "every session of everybody has ended".to_owned())
                    }
                };
                let body = body.to_string();
                let head = format!(
                    "POST /sessions/revoke HTTP/1.1\r\nContent-Type: application/json\r\n\
                     Content-Length: {}\r\n",
                    body.len()
                );
                ask(&place.address(config)?, &head, &body)?;
                Ok(format!("{done}; other nodes know within a second"))
            }
        }
    }
}

impl Place {
    fn address(&self, file: &Path) -> Result<Address, String> {
        if let Some(text) = &self.admin {
            return match text.strip_prefix("unix:") {
                Some(path) if !path.is_empty() => Ok(Address::Unix(PathBuf::from(path))),
                _ => text.parse().map(Address::Inet).map_err(|_| {
                    format!("--admin {}: give unix:PATH, or an address with its port", shown(text))
                }),
            };
        }
        let config = config::load(file).map_err(|found| found.to_string())?;
        config.admin.map(|settings| settings.address).ok_or_else(|| {
            format!(
                "{} has no `admin.address`, so nobody can ask the process; add one, or name \
                 another process's with --admin",
                file.display()
            )
        })
    }
}

/// The content of a successful answer.
fn ask(address: &Address, head: &str, body: &str) -> Result<Value, String> {
    let (place, answer) = match address {
        Address::Inet(address) => {
            let request = format!("{head}Host: {address}\r\nConnection: close\r\n\r\n{body}");
            (address.to_string(), over_tcp(*address, &request))
        }
        Address::Unix(path) => {
            let request = format!("{head}Host: localhost\r\nConnection: close\r\n\r\n{body}");
            (format!("unix:{}", path.display()), over_unix(path, &request))
        }
    };
    let answer = answer.map_err(|error| {
        let remedy = match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                "; is it running, and is this its admin listener?"
            }
            io::ErrorKind::PermissionDenied => "; run this as root or as the service's user",
            _ => "",
        };
        format!("cannot ask the process at {place}: {error}{remedy}")
    })?;
    understood(&answer).map_err(|problem| format!("{place}: {problem}"))
}

fn over_tcp(address: SocketAddr, request: &str) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    exchange(&mut stream, request)
}

fn over_unix(path: &Path, request: &str) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    exchange(&mut stream, request)
}

fn exchange(stream: &mut (impl Read + Write), request: &str) -> io::Result<Vec<u8>> {
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(answer)
}

/// Reads an answer: 200 and JSON, or an error with its message.
fn understood(answer: &[u8]) -> Result<Value, String> {
    let text = String::from_utf8_lossy(answer);
    let (head, content) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).unwrap_or("nothing");
    let content: Option<Value> = serde_json::from_str(content).ok();
    match (status, content) {
        ("200", Some(content)) => Ok(content),
        ("404", None) => {
            Err("this listener knows nothing of sessions: is it another program's?".to_owned())
        }
        (_, Some(content)) if content["message"].is_string() => {
            Err(shown(content["message"].as_str().unwrap_or_default()))
        }
        (status, _) => Err(format!("it answered with {}, which makes no sense", shown(status))),
    }
}

fn list(answer: &Value) -> Result<String, String> {
    #[derive(Deserialize)]
    struct Answer {
        subject: String,
        sessions: Vec<Session>,
        total: usize,
        truncated: bool,
    }
    #[derive(Deserialize)]
    struct Session {
        id: String,
        users: Option<String>,
        created: u64,
        last_seen: u64,
        authenticated: Option<u64>,
        confirmed: bool,
        network: Option<String>,
        agent: Option<String>,
    }
    let Answer { subject, sessions, total, truncated } = Answer::deserialize(answer)
        .map_err(|error| format!("the answer makes no sense: {error}"))?;
    if sessions.is_empty() {
        return Ok(format!("{} has no sessions", shown(&subject)));
    }
    let mut text = format!("{} has {total} session(s)", shown(&subject));
    if truncated {
        // Some of the others may be over by now.
        let told = sessions.len();
        text = format!("{} has about {total} session(s), of which {told} follow", shown(&subject));
    }
    for session in sessions {
        let Session { id, users, created, last_seen, authenticated, confirmed, network, agent } =
            session;
        let written = (|| {
            writeln!(text, "\n{}", shown(&id))?;
            let before = "made before there were namespaces";
            writeln!(text, "  users      {}", shown(users.as_deref().unwrap_or(before)))?;
            writeln!(text, "  made       {}", date(created))?;
            writeln!(text, "  last seen  {}", date(last_seen))?;
            if let Some(login) = authenticated {
                let claim = if confirmed { "" } else { " (the name is what was typed)" };
                writeln!(text, "  logged in  {}{claim}", date(login))?;
            }
            let (network, agent) = (network.unwrap_or_default(), agent.unwrap_or_default());
            write!(text, "  client     {} {}", shown(&network), shown(&agent))
        })();
        written.map_err(|_: std::fmt::Error| "the list does not fit into memory".to_owned())?;
    }
    Ok(text)
}

fn date(secs: u64) -> String {
    // The years that this form of a date can tell.
    if secs >= 253_402_300_800 {
        return secs.to_string();
    }
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(secs))
}

/// A peer's text, which must not steer the terminal.
fn shown(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '\u{fffd}' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_the_configuration() {
        let file = Path::new("/nonexistent/cloakroom.yaml");
        let check = |text: &str, expected: Option<Address>| {
            let place = Place { admin: Some(text.to_owned()) };
            assert_eq!(place.address(file).ok(), expected, "{text}");
        };
        check("unix:/run/a.sock", Some(Address::Unix("/run/a.sock".into())));
        check("127.0.0.1:9000", Some(Address::Inet(([127, 0, 0, 1], 9000).into())));
        check("[::1]:9000", "[::1]:9000".parse().ok().map(Address::Inet));
        for nonsense in ["", "unix:", "/run/a.sock", "127.0.0.1", "http://127.0.0.1:9000"] {
            check(nonsense, None);
        }
        assert!(Place::default().address(file).unwrap_err().contains("/nonexistent"));
    }

    #[test]
    fn only_an_acknowledgement_counts_as_one() {
        let check = |answer: &str, expected: Result<Value, &str>| {
            let found = understood(answer.as_bytes());
            match expected {
                Ok(value) => assert_eq!(found, Ok(value), "{answer}"),
                Err(part) => assert!(found.as_ref().unwrap_err().contains(part), "{found:?}"),
            }
        };
        check("HTTP/1.1 200 OK\r\na: b\r\n\r\n{\"x\":1}\n", Ok(json!({ "x": 1 })));
        check(
            "HTTP/1.1 503 Service Unavailable\r\n\r\n{\"error\":\"e\",\"message\":\"a\\u001bb\"}",
            Err("a\u{fffd}b"),
        );
        check("HTTP/1.1 404 Not Found\r\n\r\nnot found\n", Err("another program's"));
        check("HTTP/1.1 200 OK\r\n\r\nwelcome", Err("makes no sense"));
        check("HTTP/1.1 200 OK\r\nContent-Length: 9", Err("makes no sense"));
        check("", Err("makes no sense"));
        check("SSH-2.0-OpenSSH\r\n", Err("makes no sense"));
    }

    #[test]
    fn sessions_are_listed_for_people() {
        let mut answer = json!({ "subject": "alice", "total": 1, "truncated": false, "sessions": [{
            "id": "0a", "users": "shop", "created": 0, "last_seen": 60, "authenticated": 5, "ends": 90,
            "confirmed": false, "network": "192.0.2.0/24", "agent": "curl\u{1b}"
        }] });
        assert_eq!(
            list(&answer).unwrap(),
            "alice has 1 session(s)\n0a\n  users      shop\n  made       Thu, 01 Jan 1970 00:00:00 GMT\n  \
             last seen  Thu, 01 Jan 1970 00:01:00 GMT\n  \
             logged in  Thu, 01 Jan 1970 00:00:05 GMT (the name is what was typed)\n  \
             client     192.0.2.0/24 curl\u{fffd}"
        );
        (answer["total"], answer["truncated"]) = (json!(1200), json!(true));
        let cut = list(&answer).unwrap();
        assert!(cut.starts_with("alice has about 1200 session(s), of which 1 follow\n"), "{cut}");
        let nobody = json!({
            "subject": "bob", "sessions": [], "total": 0, "truncated": false
        });
        assert_eq!(list(&nobody).unwrap(), "bob has no sessions");
    }
}
