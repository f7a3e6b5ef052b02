//! HTTP/2 over TLS: by the h2 crate's client, or frame by frame.

mod bodies;
mod conformance;
mod connection;
mod frames;
mod heads;

use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use tokio::task::JoinHandle;

use crate::downstream::tests::{LONG, Proxy, SHORT, Transport, resident, within};
use crate::listen::{Limits, Protocol, Shutdown};

use self::frames::Frames;

/// An HTTP/2 connection; the task ends when the connection does.
async fn connect(proxy: &Proxy) -> (SendRequest<Bytes>, JoinHandle<Result<(), h2::Error>>) {
    let stream = proxy.connect_tls(b"h2").await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (requests, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    (requests, tokio::spawn(connection))
}

async fn request(
    requests: &mut SendRequest<Bytes>,
    request: Request<()>,
    body: Option<Bytes>,
) -> Result<(u16, String), h2::Error> {
    let mut ready = requests.clone().ready().await?;
    let (answer, mut sending) = ready.send_request(request, body.is_none())?;
    if let Some(body) = body {
        sending.send_data(body, true)?;
    }
    let answer = answer.await?;
    let status = answer.status().as_u16();
    let mut body = answer.into_body();
    let mut text = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        text.extend_from_slice(&data);
    }
    Ok((status, String::from_utf8(text).expect("text")))
}

fn get(path: &str) -> Request<()> {
    Request::get(format!("https://shop.example{path}")).body(()).expect("a request")
}
