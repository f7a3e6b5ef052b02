//! `cloakroom import --probe URL`: asks an application once, for the cookies that it sets.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::import::propose;
use crate::wire::name::Name;
use crate::wire::response::ResponseHead;
use crate::wire::scan::HeadScan;

const TIMEOUT: Duration = Duration::from_secs(10);
const HEAD_BYTES_MAX: usize = 128 * 1024;

/// A session policy for what an application sets, in comments.
///
/// # Errors
/// It cannot be asked.
pub fn proposal(url: &str) -> Result<String, String> {
    let (authority, target) = read(url)?;
    let answer = ask(authority, target).map_err(|error| format!("--probe {url}: {error}"))?;
    let mut head = ResponseHead::default();
    head.read(&answer).map_err(|flaw| format!("--probe {url}: its answer is none: {flaw}"))?;
    let fields: Vec<&[u8]> = head.fields.all(Name::SetCookie).collect();
    Ok(propose::policy(url, &fields))
}

/// The host with its port, and what is asked for.
fn read(url: &str) -> Result<(&str, &str), String> {
    const HELP: &str = "give a page of the worker itself, such as http://127.0.0.1:7001/login";
    let is_plain = url.bytes().all(|byte| byte.is_ascii_graphic());
    let rest = url.strip_prefix("http://").filter(|_| is_plain);
    let rest = rest.ok_or_else(|| format!("--probe {}: {HELP}", url.escape_debug()))?;
    let (authority, target) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if authority.is_empty()
        || authority.contains('@')
        || !matches!(target.as_bytes(), [] | [b'/', ..])
    {
        return Err(format!("--probe {url}: {HELP}"));
    }
    let target = target.split('#').next().unwrap_or_default();
    Ok((authority, if target.is_empty() { "/" } else { target }))
}

/// The head of the answer.
fn ask(authority: &str, target: &str) -> io::Result<Vec<u8>> {
    let mut stream = connect(authority)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: {authority}\r\nAccept: text/html\r\nX-Forwarded-Proto: https\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let (mut answer, mut scan) = (Vec::new(), HeadScan::default());
    let mut piece = [0; 4096];
    while answer.len() < HEAD_BYTES_MAX {
        match stream.read(&mut piece)? {
            0 => break,
            read => answer.extend_from_slice(piece.get(..read).unwrap_or_default()),
        }
        if let Some(range) = scan.advance(&answer) {
            return Ok(answer.get(range).unwrap_or_default().to_vec());
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "no head of an answer came"))
}

fn connect(authority: &str) -> io::Result<TcpStream> {
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
    let with_port = if has_port { authority.to_owned() } else { format!("{authority}:80") };
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in with_port.to_socket_addrs()?.collect::<Vec<SocketAddr>>() {
        match TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_a_worker_is_named_by_its_url() {
        assert_eq!(read("http://127.0.0.1:7001"), Ok(("127.0.0.1:7001", "/")));
        assert_eq!(read("http://[::1]:7001/login?a=b#c"), Ok(("[::1]:7001", "/login?a=b")));
        for text in [
            "https://a/",
            "a",
            "http://",
            "http:///x",
            "http://u@a/",
            "http://a?b",
            "http://a/ b",
            "http://a/\r\nX: y",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
