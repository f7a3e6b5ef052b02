//! An HTTP/2 client.

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Error, SendStream};
use http::{HeaderMap, Method, Request};
use tokio::task::JoinHandle;

use super::client::Dial;
use super::within;

/// A connection; its streams are independent of each other.
pub struct H2 {
    sender: SendRequest<Bytes>,
    driver: JoinHandle<Result<(), Error>>,
}

/// A response with all of its body.
#[derive(Debug)]
pub struct H2Response {
    pub status: u16,
    pub fields: HeaderMap,
    pub body: Vec<u8>,
    pub trailers: Option<HeaderMap>,
}

impl H2Response {
    pub fn set_cookies(&self) -> Vec<String> {
        let values = self.fields.get_all("set-cookie").iter();
        values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }
}

impl H2 {
    /// Connects with `h2` as the only protocol offered, or with prior knowledge where there is no
    /// TLS.
    pub async fn connect(dial: &Dial) -> Self {
        let connection = dial.clone().alpn(&["h2"]).connect().await;
        if let Some(facts) = &connection.tls {
            assert_eq!(facts.alpn.as_deref(), Some("h2"), "the server chose another protocol");
        }
        let handshake = h2::client::handshake(connection.into_stream());
        let (sender, connection) =
            within("an HTTP/2 handshake", handshake).await.expect("the server speaks HTTP/2");
        Self { sender, driver: tokio::spawn(connection) }
    }

    /// A request without a body. Each pair becomes a field of its own: several `cookie` fields
    /// are what browsers send (RFC 9113 8.2.3).
    pub async fn get(
        &mut self,
        authority: &str,
        path: &str,
        fields: &[(&str, &str)],
    ) -> H2Response {
        self.request(Method::GET, authority, path, fields, b"")
            .await
            .unwrap_or_else(|problem| panic!("no response: {problem}"))
    }

    /// # Errors
    /// A stream or connection that was reset.
    pub async fn request(
        &mut self,
        method: Method,
        authority: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> Result<H2Response, Error> {
        let mut request =
            Request::builder().method(method).uri(format!("https://{authority}{path}"));
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("the request is well-formed");
        let (response, mut stream) = self.open(request, body.is_empty()).await?;
        if !body.is_empty() {
            stream.send_data(Bytes::copy_from_slice(body), true)?;
        }
        within("an HTTP/2 response", read(response)).await
    }

    /// Opens a stream, for tests that send or read it piece by piece.
    pub async fn open(
        &mut self,
        request: Request<()>,
        end_of_stream: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), Error> {
        let mut ready = within("room for a stream", self.sender.clone().ready()).await?;
        ready.send_request(request, end_of_stream)
    }

    /// Waits until the server has closed the connection.
    pub async fn closed(self) {
        drop(self.sender);
        // How it ended is of no interest, a reset included.
        let _ = within("the server to close", self.driver).await;
    }
}

async fn read(response: ResponseFuture) -> Result<H2Response, Error> {
    let (head, mut stream) = response.await?.into_parts();
    let mut body = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data?;
        body.extend_from_slice(&data);
        stream.flow_control().release_capacity(data.len())?;
    }
    let trailers = stream.trailers().await?;
    Ok(H2Response { status: head.status.as_u16(), fields: head.headers, body, trailers })
}
