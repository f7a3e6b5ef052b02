//! Messages that two readers could take differently, or that are about one connection only: bytes in,
//! whole messages out, for requests and for answers.

mod answers;
mod chunks;
mod http2;
mod old_clients;
mod requests;
mod stalls;
mod upgrades;

use std::net::SocketAddr;

use crate::support::client::{Connection, Dial};
use crate::support::origin::{Origin, Request};
use crate::support::proxy::Proxy;

/// A plain listener, then one that speaks TLS, in front of these endpoints. `more` is a part of
/// `limits`.
fn proxy(endpoints: &[SocketAddr], more: &str) -> Proxy {
    let endpoints: Vec<String> =
        endpoints.iter().map(|at| format!("{{ address: '{at}' }}")).collect();
    Proxy::start(&format!(
        "workers: 1\nstate_directory: '{{directory}}'\nlisteners:\n  - address: 127.0.0.1:0\n  \
         - {{ address: 127.0.0.1:0, tls: {{ self_signed: true }} }}\nstore: memory\n\
         limits: {{ header_timeout: 30s{more} }}\nupstreams:\n  app:\n    \
         endpoints: [{}]\n    timeouts: {{ connect: 5s, read: 300ms, keepalive: 20s }}\n\
         servers:\n  - names: [{NAME}]\n    routes: [{{ path: /, upstream: app, request_buffering: false }}]\n",
        endpoints.join(", ")
    ))
}

/// The server's name.
const NAME: &str = "app.example";

async fn dial(proxy: &Proxy) -> Connection {
    Dial::to(proxy.address()).connect().await
}

/// An answer without anything that we would add.
const ANSWER: &str = "HTTP/1.1 200 OK\r\nDate: then\r\nContent-Length: 2\r\n\r\nok";

/// What the worker gets of a request, or the status of our answer.
async fn sent(proxy: &Proxy, origin: &mut Origin, raw: impl AsRef<[u8]>) -> Result<Request, u16> {
    let mut client = dial(proxy).await;
    client.send(raw.as_ref()).await;
    let mut exchange = tokio::select! {
        biased;
        exchange = origin.next_head() => exchange,
        answer = client.response() => return Err(answer.status),
    };
    if exchange.read_body().await.is_err() {
        return Err(client.response().await.status);
    }
    let request = exchange.request.clone();
    exchange.respond(ANSWER).await;
    client.response().await.expect(200);
    Ok(request)
}

/// All that the client gets for `GET /`, up to the end of its connection. The worker closes after
/// what it says.
async fn answered(proxy: &Proxy, origin: &mut Origin, answer: impl AsRef<[u8]>) -> String {
    let mut client = dial(proxy).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    let mut exchange = origin.next().await;
    exchange.write(answer).await;
    exchange.close().await;
    let whole = client.rest().await.expect("no reset");
    String::from_utf8(whole).expect("text")
}
