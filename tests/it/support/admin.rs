//! The admin listener, as a scraper or an operator's script meets it.

use std::path::{Path, PathBuf};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::proxy::Proxy;
use super::within;

/// A line of configuration: a socket in the node's own directory.
pub const ADMIN: &str = "admin: { address: 'unix:{directory}/admin.sock' }";

/// The socket of a node that was configured with [`ADMIN`].
pub fn socket(node: &Proxy) -> PathBuf {
    node.directory().join("admin.sock")
}

/// Sends a request's bytes, and reads to the end of the answer: status, head, content.
pub async fn ask(socket: &Path, request: &str) -> (u16, String, String) {
    let asked = async {
        let mut stream = UnixStream::connect(socket).await.expect("somebody listens");
        stream.write_all(request.as_bytes()).await.expect("taken");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        answer
    };
    let answer = within("the admin listener", asked).await;
    let (head, content) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.expect("a status line"), head.to_owned(), content.to_owned())
}

/// A node's metrics.
pub async fn metrics(node: &Proxy) -> String {
    let request = "GET /metrics HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n";
    let (status, _, text) = ask(&socket(node), request).await;
    assert_eq!(status, 200, "{text}");
    text
}

/// The value of a series, labels included; `None` where there is none.
pub async fn metric(node: &Proxy, series: &str) -> Option<u64> {
    let text = metrics(node).await;
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    Some(line.parse().expect("a number"))
}
