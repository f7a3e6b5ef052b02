//! WebSockets and event streams end with the ticket that they were opened with (rules 18 and 26).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use h2::RecvStream;

use super::*;
use crate::support::client::{Connection, Dial, request};
use crate::support::h2::H2;
use crate::support::origin::Exchange;
use crate::support::shop::HOST;
use crate::support::within;

const EVENT: &str = "data: x\n\n";

#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    WebSocket,
    Events,
    EventsOverH2,
}

pub(crate) const KINDS: [Kind; 3] = [Kind::WebSocket, Kind::Events, Kind::EventsOverH2];

/// An open stream: the application's end and the client's.
pub(crate) struct Stream {
    kind: Kind,
    origin: Exchange,
    client: Client,
}

enum Client {
    H1(Connection),
    H2(RecvStream, #[expect(dead_code, reason = "keeps the connection open")] H2),
}

impl Stream {
    pub(crate) async fn open(scene: &mut Scene, visitor: &Browser, kind: Kind) -> Self {
        Self::open_at(scene, 0, visitor, kind).await
    }

    /// As [`Stream::open`], through this node.
    pub(crate) async fn open_at(
        scene: &mut Scene,
        node: usize,
        visitor: &Browser,
        kind: Kind,
    ) -> Self {
        let address = scene.nodes[node].address();
        let ticket = visitor.cookie(TICKET).expect("a ticket").value_text();
        let cookie = format!("{TICKET}={ticket}");
        match kind {
            Kind::WebSocket => {
                let fields = [
                    ("Cookie", cookie.as_str()),
                    ("Connection", "Upgrade"),
                    ("Upgrade", "websocket"),
                    ("Sec-WebSocket-Version", "13"),
                    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
                ];
                let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                              Upgrade: websocket\r\n\r\n";
                Self::open_h1(scene, address, kind, &fields, answer).await
            }
            Kind::Events => {
                let fields = [("Cookie", cookie.as_str()), ("Accept", "text/event-stream")];
                Self::open_h1(scene, address, kind, &fields, EVENTS).await
            }
            Kind::EventsOverH2 => {
                let mut connection = H2::connect(&Dial::to(address).tls(HOST)).await;
                let request = http::Request::get(format!("https://{HOST}/events"))
                    .header("cookie", cookie)
                    .header("accept", "text/event-stream")
                    .body(())
                    .expect("the request is well-formed");
                let (response, _) = connection.open(request, true).await.expect("a stream opens");
                let mut origin = scene.origin.next().await;
                origin.write(EVENTS).await;
                let response = within("a response head", response).await.expect("a response");
                assert_eq!(response.status(), 200);
                let client = Client::H2(response.into_body(), connection);
                Self { kind, origin, client }
            }
        }
    }

    async fn open_h1(
        scene: &mut Scene,
        address: SocketAddr,
        kind: Kind,
        fields: &[(&str, &str)],
        answer: &str,
    ) -> Self {
        let mut client = Dial::to(address).tls(HOST).connect().await;
        client.send(request("GET", "/events", HOST, fields, b"")).await;
        let mut origin = scene.origin.next().await;
        assert_eq!(lent(&origin.request), "EGG_SESS=before");
        origin.write(answer).await;
        let head = client.response_head().await;
        assert!(matches!(head.status, 101 | 200), "{}", head.head.start);
        Self { kind, origin, client: Client::H1(client) }
    }

    /// Asserts that what the application says arrives.
    pub(crate) async fn lives(&mut self) {
        let said = match self.kind {
            Kind::WebSocket => EVENT.to_owned(),
            Kind::Events | Kind::EventsOverH2 => format!("{:x}\r\n{EVENT}\r\n", EVENT.len()),
        };
        self.origin.write(said).await;
        let heard = match (self.kind, &mut self.client) {
            (Kind::WebSocket, Client::H1(client)) => client.exactly(EVENT.len()).await.ok(),
            (_, Client::H1(client)) => client.chunk().await.ok().flatten(),
            (_, Client::H2(body, _)) => {
                let data = within("an event", body.data()).await;
                data.and_then(Result::ok).map(|data| data.to_vec())
            }
        };
        assert_eq!(heard.as_deref(), Some(EVENT.as_bytes()), "{:?}", self.kind);
    }

    /// Asserts that both ends were closed, and that the client can't take it for the stream's
    /// own end where the protocol tells the difference.
    pub(crate) async fn ended(mut self) {
        self.origin.peer_closed().await;
        match (self.kind, &mut self.client) {
            (Kind::WebSocket, Client::H1(client)) => {
                let rest = client.rest().await.unwrap_or_default();
                assert_eq!(rest, b"", "nothing came after the end");
            }
            (kind, Client::H1(client)) => {
                let chunk = client.chunk().await;
                assert!(chunk.is_err(), "{kind:?}: {chunk:?} where there is no last chunk");
            }
            (kind, Client::H2(body, _)) => {
                let data = within("the stream's end", body.data()).await;
                assert!(matches!(data, Some(Err(_))), "{kind:?}: {data:?} instead of a reset");
            }
        }
    }
}

const EVENTS: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                      Transfer-Encoding: chunked\r\n\r\n";

/// Two visitors with streams of each kind.
async fn two_visitors(scene: &mut Scene) -> [(Browser, Vec<Stream>); 2] {
    let mut visitors = Vec::new();
    for _ in 0..2 {
        let visitor = scene.visitor().await;
        let mut streams = Vec::new();
        for kind in KINDS {
            let mut stream = Stream::open(scene, &visitor, kind).await;
            stream.lives().await;
            streams.push(stream);
        }
        visitors.push((visitor, streams));
    }
    visitors.try_into().unwrap_or_else(|_| unreachable!("two were made"))
}

#[tokio::test]
async fn a_login_closes_the_streams_of_the_old_ticket_and_no_others() {
    let mut scene = Scene::of(1).await;
    let [(mut visitor, streams), (_, others)] = two_visitors(&mut scene).await;
    let begun = Instant::now();
    let login = send(&visitor, login());
    let forwarded = scene.origin.next().await;
    assert!(begun.elapsed() < Duration::from_millis(1900), "rule 18: streams are not waited for");
    for stream in streams {
        stream.ended().await;
    }
    forwarded.respond(welcome(&[])).await;
    login.kept(&mut visitor).await.expect(302);
    for mut stream in others {
        stream.lives().await;
    }
    let mut new = Stream::open(&mut scene, &visitor, Kind::Events).await;
    new.lives().await;
}

#[tokio::test]
async fn a_logout_closes_the_session_s_streams_and_no_others() {
    let mut scene = Scene::of(1).await;
    let [(mut visitor, streams), (_, others)] = two_visitors(&mut scene).await;
    let logout = Ask::new("POST", "/logout");
    let (_, response) = scene.exchange(&mut visitor, logout, &farewell()).await;
    expires(&response.expect(302));
    for stream in streams {
        stream.ended().await;
    }
    for mut stream in others {
        stream.lives().await;
    }
}

#[tokio::test]
async fn a_page_that_only_stores_a_cookie_closes_no_stream() {
    let mut scene = Scene::of(1).await;
    let [(mut visitor, streams), _others] = two_visitors(&mut scene).await;
    let answer = ok(&["EGG_SESS=after; Path=/"]);
    scene.exchange(&mut visitor, Ask::get("/"), &answer).await.1.expect(200);
    for mut stream in streams {
        stream.lives().await;
    }
}
