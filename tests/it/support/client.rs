//! A raw HTTP/1.1 client over TCP or TLS: bytes in, whole responses out.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ProtocolVersion, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

use super::http::{Body, Broken, Fields, Framing, Head, Wire, framing, message, show};
use super::{tls, within};

/// How to reach a server.
#[derive(Clone)]
pub struct Dial {
    address: SocketAddr,
    from: Option<IpAddr>,
    preface: Vec<u8>,
    sni: Option<String>,
    alpn: Vec<String>,
    versions: &'static [&'static SupportedProtocolVersion],
    config: Option<Arc<ClientConfig>>,
}

impl Dial {
    /// Plain TCP.
    pub fn to(address: SocketAddr) -> Self {
        Self {
            address,
            from: None,
            preface: Vec::new(),
            sni: None,
            alpn: Vec::new(),
            versions: tls::BOTH,
            config: None,
        }
    }

    /// TLS, asking for this name. An IP address is not sent as a name (RFC 6066).
    pub fn tls(mut self, sni: &str) -> Self {
        self.sni = Some(sni.to_owned());
        self
    }

    /// Protocols to offer; none by default.
    pub fn alpn(mut self, names: &[&str]) -> Self {
        self.alpn = names.iter().map(|name| (*name).to_owned()).collect();
        self
    }

    /// TLS versions to offer: [`tls::ONLY_TLS12`] …
    pub fn versions(mut self, versions: &'static [&'static SupportedProtocolVersion]) -> Self {
        self.versions = versions;
        self
    }

    /// A configuration to share between connections, so that TLS sessions can be resumed.
    pub fn config(mut self, config: Arc<ClientConfig>) -> Self {
        self.config = Some(config);
        self
    }

    /// Binds to this address first: all of 127.0.0.0/8 is ours.
    pub fn from(mut self, address: IpAddr) -> Self {
        self.from = Some(address);
        self
    }

    /// Bytes to write before TLS begins: a PROXY protocol header.
    pub fn preface(mut self, bytes: &[u8]) -> Self {
        self.preface = bytes.to_vec();
        self
    }

    pub async fn connect(&self) -> Connection {
        self.try_connect()
            .await
            .unwrap_or_else(|problem| panic!("cannot connect to {}: {problem}", self.address))
    }

    /// # Errors
    /// What TCP or TLS said.
    pub async fn try_connect(&self) -> std::io::Result<Connection> {
        let (stream, facts) = within("a connection", self.stream()).await?;
        Ok(Connection { wire: Wire::new(stream), tls: facts })
    }

    async fn stream(&self) -> std::io::Result<(Box<dyn Stream>, Option<TlsFacts>)> {
        let socket =
            if self.address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        if let Some(from) = self.from {
            socket.bind(SocketAddr::new(from, 0))?;
        }
        let mut tcp = socket.connect(self.address).await?;
        tcp.set_nodelay(true)?;
        tcp.write_all(&self.preface).await?;
        let Some(sni) = &self.sni else { return Ok((Box::new(tcp), None)) };

        let name = ServerName::try_from(sni.clone()).expect("the name can be asked for");
        let config = self.config.clone().unwrap_or_else(|| {
            let alpn: Vec<&str> = self.alpn.iter().map(String::as_str).collect();
            tls::client_config(&alpn, self.versions)
        });
        let stream = TlsConnector::from(config).connect(name, tcp).await?;
        let session = stream.get_ref().1;
        let facts = TlsFacts {
            alpn: session.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
            version: session.protocol_version().expect("the handshake is complete"),
            certificate: session
                .peer_certificates()
                .and_then(|chain| chain.first())
                .map(|certificate| certificate.to_vec())
                .unwrap_or_default(),
            resumed: session.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
        };
        Ok((Box::new(stream), Some(facts)))
    }
}

/// What a TLS handshake came to.
#[derive(Clone, Debug)]
pub struct TlsFacts {
    pub alpn: Option<String>,
    pub version: ProtocolVersion,
    /// The server's own certificate, DER.
    pub certificate: Vec<u8>,
    pub resumed: bool,
}

/// A response and everything that came with it.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub head: Head,
    pub framing: Framing,
    pub body: Body,
    /// The 1xx responses before it.
    pub interim: Vec<Head>,
}

impl Response {
    pub fn fields(&self) -> &Fields {
        &self.head.fields
    }

    /// The value of a field that appears at most once.
    pub fn field(&self, name: &str) -> Option<String> {
        self.head.fields.one(name)
    }

    /// The Set-Cookie lines, in order.
    pub fn set_cookies(&self) -> Vec<String> {
        self.head.fields.all("set-cookie")
    }

    pub fn content(&self) -> &[u8] {
        &self.body.content
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body.content).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body.content)
            .unwrap_or_else(|problem| panic!("{problem}: {}", show(&self.body.content)))
    }

    /// Asserts the status, showing the whole head if it is another.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(
            self.status,
            status,
            "{}{}",
            String::from_utf8_lossy(&self.head.raw),
            self.text()
        );
        self
    }
}

/// An open connection.
pub struct Connection {
    wire: Wire<Box<dyn Stream>>,
    /// Present on TLS.
    pub tls: Option<TlsFacts>,
}

impl Connection {
    pub fn local_address(&self) -> SocketAddr {
        self.wire.stream().tcp().local_addr().expect("the socket is open")
    }

    /// Writes raw bytes.
    pub async fn send(&mut self, raw: impl AsRef<[u8]>) {
        let raw = raw.as_ref();
        within("the bytes to be taken", self.wire.write(raw))
            .await
            .unwrap_or_else(|problem| panic!("cannot send {}: {problem}", show(raw)));
    }

    /// Writes raw bytes to a server that may have hung up meanwhile.
    pub async fn try_send(&mut self, raw: impl AsRef<[u8]>) -> std::io::Result<()> {
        within("the bytes to be taken", self.wire.write(raw.as_ref())).await
    }

    /// Sends one request and reads its response.
    pub async fn exchange(&mut self, raw: impl AsRef<[u8]>) -> Response {
        let raw = raw.as_ref();
        self.send(raw).await;
        if raw.starts_with(b"HEAD ") {
            self.response_to_head().await
        } else {
            self.response().await
        }
    }

    /// `GET` with an `Host` field and others.
    pub async fn get(&mut self, host: &str, target: &str, fields: &[(&str, &str)]) -> Response {
        self.exchange(request("GET", target, host, fields, b"")).await
    }

    pub async fn response(&mut self) -> Response {
        self.try_response().await.unwrap_or_else(|problem| panic!("no response: {problem}"))
    }

    /// The response to HEAD, whose fields describe a body that doesn't follow.
    pub async fn response_to_head(&mut self) -> Response {
        let mut response = self.response_head().await;
        response.framing = Framing::None;
        response
    }

    /// # Errors
    /// How the response broke off, with what had arrived.
    pub async fn try_response(&mut self) -> Result<Response, Broken> {
        let mut response = self.try_response_head().await?;
        response.body =
            within("the response's body", self.wire.read_body(response.framing)).await?;
        Ok(response)
    }

    /// A response without its body, which [`Connection::chunk`] and [`Connection::bytes`] go on
    /// to read.
    pub async fn response_head(&mut self) -> Response {
        self.try_response_head().await.unwrap_or_else(|problem| panic!("no response: {problem}"))
    }

    pub async fn try_response_head(&mut self) -> Result<Response, Broken> {
        let mut interim = Vec::new();
        loop {
            let head = within("a response head", self.wire.read_head()).await?;
            let status = status_of(&head)?;
            // 101 is final: after it the connection speaks something else.
            if (100..200).contains(&status) && status != 101 {
                interim.push(head);
                continue;
            }
            let framing = match status {
                101 | 204 | 304 => Framing::None,
                _ => framing(&head.fields, Framing::UntilClose)?,
            };
            return Ok(Response { status, head, framing, body: Body::default(), interim });
        }
    }

    /// The content of the next chunk of a chunked body; nothing after the last.
    pub async fn chunk(&mut self) -> Result<Option<Vec<u8>>, Broken> {
        within("a chunk", self.wire.chunk(&mut Body::default())).await
    }

    /// Whatever comes next; empty at an orderly end.
    pub async fn bytes(&mut self) -> Result<Vec<u8>, Broken> {
        within("some bytes", self.wire.read_some()).await
    }

    pub async fn exactly(&mut self, length: usize) -> Result<Vec<u8>, Broken> {
        within("some bytes", self.wire.read_exact(length)).await
    }

    /// Waits for the server to close and returns what it said before.
    pub async fn rest(&mut self) -> Result<Vec<u8>, Broken> {
        within("the server to close", self.wire.read_to_end()).await
    }

    /// Closes our direction; answers can still be read.
    pub async fn finish(&mut self) {
        // The peer may be gone: then there is nothing left to close.
        let _ = self.wire.shutdown().await;
    }

    /// Hangs up with a reset.
    pub fn reset(self) {
        self.wire.stream().tcp().set_zero_linger().expect("the socket is open");
    }

    /// The bare stream, to speak another protocol.
    pub fn into_stream(self) -> Box<dyn Stream> {
        self.wire.into_stream()
    }
}

/// A request's bytes. `Content-Length` is there if there is a body, or the method usually has one.
pub fn request(
    method: &str,
    target: &str,
    host: &str,
    fields: &[(&str, &str)],
    body: &[u8],
) -> Vec<u8> {
    let start = format!("{method} {target} HTTP/1.1\r\nHost: {host}");
    if body.is_empty() && !matches!(method, "POST" | "PUT" | "PATCH") {
        let lines: String =
            fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        return format!("{start}\r\n{lines}\r\n").into_bytes();
    }
    message(&start, fields, body)
}

/// TCP or TLS.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {
    fn tcp(&self) -> &TcpStream;
}

impl Stream for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Stream for tokio_rustls::client::TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

impl Stream for tokio_rustls::server::TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// `HTTP/1.1 200 …` → 200.
fn status_of(head: &Head) -> Result<u16, Broken> {
    head.start
        .strip_prefix("HTTP/1.1 ")
        .or_else(|| head.start.strip_prefix("HTTP/1.0 "))
        .and_then(|rest| rest.get(..3)?.parse().ok())
        .ok_or_else(|| Broken::Malformed(format!("status line `{}`", head.start)))
}
