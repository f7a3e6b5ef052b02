//! What a node has counted, out of its own `/metrics`.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::proxy::Proxy;
use super::within;

/// The line of a configuration that gives a node an admin listener.
pub const ADMIN: &str = "admin: { address: 'unix:{directory}/admin.sock' }";

/// The value of a series, labels included: `name{label="value"}`.
pub async fn count(node: &Proxy, series: &str) -> u64 {
    let text = metrics(node).await;
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let value = line.unwrap_or_else(|| panic!("{series} is missing from\n{text}"));
    value.parse().unwrap_or_else(|_| panic!("{series} is {value}"))
}

/// The sum of all series of a name.
pub async fn total(node: &Proxy, name: &str) -> u64 {
    let text = metrics(node).await;
    let values = text.lines().filter_map(|line| line.strip_prefix(name)?.rsplit_once("} "));
    values.map(|(_, value)| value.parse::<u64>().expect("a whole number")).sum()
}

async fn metrics(node: &Proxy) -> String {
    let asked = async {
        let socket = node.directory().join("admin.sock");
        let mut stream = UnixStream::connect(socket).await.expect("somebody listens");
        let request = b"GET /metrics HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.expect("taken");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        answer
    };
    within("the admin listener", asked).await
}
