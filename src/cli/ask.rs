//! Asks a running process over its admin listener: what the sub-commands for operators have in common.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::admin::{Address, Token};
use crate::config;

/// How long the process may take to connect, to be written to, to answer. The store's own deadlines
/// are far below.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A thousand sessions with all that is shown of them fit.
const ANSWER_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Where the process is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct Place {
    /// The admin listener (`unix:PATH` or `HOST:PORT`) in place of the configuration's
    #[arg(long, value_name = "ADDRESS")]
    pub admin: Option<String>,
    /// The file with the listener's token in place of the configuration's
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

impl Place {
    /// The content of what the process answers to GET.
    pub(super) fn get(&self, file: &Path, target: &str) -> Result<Value, String> {
        self.ask(file, &format!("GET {target} HTTP/1.1\r\n"), "")
    }

    /// The content of what it answers to this body.
    pub(super) fn post(&self, file: &Path, target: &str, body: &Value) -> Result<Value, String> {
        let body = body.to_string();
        let head = format!(
            "POST {target} HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n",
            body.len()
        );
        self.ask(file, &head, &body)
    }

    fn ask(&self, file: &Path, head: &str, body: &str) -> Result<Value, String> {
        let token = self.token()?;
        let (address, configured) = self.address(file)?;
        let field = token.or(configured).map(|token| token.field());
        let field = field.as_ref().map_or("", |field| field.as_str());
        let head = Zeroizing::new(format!("{head}{field}"));
        ask(&address, &head, body)
    }

    fn token(&self) -> Result<Option<Token>, String> {
        let Some(file) = &self.token_file else { return Ok(None) };
        let text = std::fs::read_to_string(file).map(Zeroizing::new);
        let text = text.map_err(|error| format!("--token-file {}: {error}", file.display()))?;
        let token = Token::read(&text);
        token
            .map(Some)
            .map_err(|flaw| format!("--token-file: what {} holds {flaw}", file.display()))
    }

    /// Where it is, and the token that the configuration has for it.
    fn address(&self, file: &Path) -> Result<(Address, Option<Token>), String> {
        if let Some(text) = &self.admin {
            return match text.strip_prefix("unix:") {
                Some(path) if !path.is_empty() => Ok((Address::Unix(PathBuf::from(path)), None)),
                _ => text.parse().map(|it| (Address::Inet(it), None)).map_err(|_| {
                    format!("--admin {}: give unix:PATH, or an address with its port", shown(text))
                }),
            };
        }
        let config = config::load(file).map_err(|found| found.to_string())?;
        config.admin.map(|settings| (settings.address, settings.token)).ok_or_else(|| {
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
            let request =
                Zeroizing::new(format!("{head}Host: {address}\r\nConnection: close\r\n\r\n{body}"));
            (address.to_string(), over_tcp(*address, &request))
        }
        Address::Unix(path) => {
            let request =
                Zeroizing::new(format!("{head}Host: localhost\r\nConnection: close\r\n\r\n{body}"));
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
            Err("this listener does not know what is asked: is it another program's?".to_owned())
        }
        (_, Some(content)) if content["message"].is_string() => {
            Err(shown(content["message"].as_str().unwrap_or_default()))
        }
        (status, _) => Err(format!("it answered with {}, which makes no sense", shown(status))),
    }
}

/// A peer's text, which must not steer the terminal.
pub(super) fn shown(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '\u{fffd}' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn addresses_are_those_of_the_configuration() {
        let file = Path::new("/nonexistent/cloakroom.yaml");
        let check = |text: &str, expected: Option<Address>| {
            let place = Place { admin: Some(text.to_owned()), ..Place::default() };
            let found = place.address(file).ok().map(|(address, _)| address);
            assert_eq!(found, expected, "{text}");
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
}
