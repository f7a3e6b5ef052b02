//! Cookie text on the wire: what is not ours reaches the worker byte for byte, and the ways around
//! a cookie's prefix that are known lead nowhere (PROTOCOL 5; notes on each case below).

use crate::support::client::{Connection, Dial, request};
use crate::support::counts::{ADMIN, count};
use crate::support::http::response;
use crate::support::origin::{Request, Responder};
use crate::support::proxy::Proxy;
use crate::support::shop::{HOST, Shop, TICKET};

/// The session that a ticket brings.
const SESSION: &[u8] = b"EGG_SESS=hers";

struct Stage {
    app: Responder,
    node: Proxy,
    /// A ticket that is good.
    ticket: String,
}

impl Stage {
    async fn set() -> Self {
        let app = Responder::start(|request: &Request| {
            let fields: &[(&str, &str)] = match request.target.as_str() {
                "/begin" => &[("set-cookie", "EGG_SESS=hers; Path=/")],
                _ => &[],
            };
            response("200 OK", fields, b"")
        })
        .await;
        let node = Shop::at(app.address).top(ADMIN).start();
        let begun = dial(&node).await.get(HOST, "/begin", &[]).await;
        let [cookie] = &begun.set_cookies()[..] else { panic!("one ticket") };
        let ticket = cookie.split(';').next().expect("a pair").to_owned();
        Self { app, node, ticket }
    }

    /// The `Cookie` lines that the worker gets for these.
    async fn arrive(&self, lines: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut raw = request("GET", "/", HOST, &[], b"");
        let end = raw.len() - 2;
        let fields = lines.iter().flat_map(|line| [b"Cookie: ", *line, b"\r\n"].concat());
        raw.splice(end..end, fields.collect::<Vec<u8>>());
        dial(&self.node).await.exchange(raw).await.expect(200);
        let seen = self.app.last();
        seen.fields().bytes("cookie").into_iter().map(<[u8]>::to_vec).collect()
    }

    #[track_caller]
    fn assert_arrived(sent: &[&[u8]], arrived: &[Vec<u8>], expected: Option<&[u8]>) {
        let shown = |lines: &[Vec<u8>]| -> Vec<String> {
            lines.iter().map(|line| line.escape_ascii().to_string()).collect()
        };
        let sent: Vec<Vec<u8>> = sent.iter().map(|line| line.to_vec()).collect();
        let expected: Vec<Vec<u8>> = expected.map(<[u8]>::to_vec).into_iter().collect();
        assert_eq!(shown(arrived), shown(&expected), "sent: {:?}", shown(&sent));
    }
}

async fn dial(node: &Proxy) -> Connection {
    Dial::to(node.address()).tls(HOST).connect().await
}

/// RFC 6265bis, section 5.6, read from the other side: SP and HTAB around a pair are nobody's,
/// all other bytes are the application's.
#[tokio::test]
async fn what_is_not_ours_arrives_byte_for_byte() {
    let stage = Stage::set().await;
    let big = [b"big=".as_slice(), &[b'x'; 4092]].concat();
    for line in [
        &b"a=b"[..],
        b"a=b; c=d; a=e",
        b"A=1; a=2",
        // Nameless, valueless, and both.
        b"=v; n=; =; x",
        b"==; =a=b; a==; a=b=c",
        // Quotes protect nothing and are never taken off.
        b"q=\"a b\"; r=\"; s=\"\\\"\"; t=\"x",
        // RFC 2109 and 2965 are over: `$` is a letter, a comma is one too.
        b"$Version=1; a=b; $Path=/; $Domain=x; $Port=\"80\"",
        b"$Version=\"1\"; a=\"b\"; $Path=\"/\"",
        b"a=b, c=d; e=f,g",
        // Percent signs, plus signs and brackets are not decoded.
        b"%61=%62; a+b=c+d; a[0]=1; a[]=2; a.b=3; a b=c d",
        // Beyond ASCII: UTF-8, Latin-1, what is neither, and blanks of other alphabets.
        "caf\u{e9}=\u{6625}; \u{1f36a}=\u{a0}x\u{2003}".as_bytes(),
        b"\xe9=\xff\xfe; a\xa0=\x85b; \xc3=\x28",
        b"\xef\xbb\xbfbom=1; \xe2\x80\x8bzwsp=2",
        // A tab inside stays, as do separators that other grammars have.
        b"a=b\tc; d=(x)<y>@[z]?{u}|/\\^~`!#$&'*",
        // The prefixes belong to the application as well.
        b"__Host-csrf=1; __Secure-x=2; __host-y=3; __Host-=4; __Http-z=5",
        b"EGG_SESS2=a; xEGG_SESS=b; EGG_SESS.sig2=c",
        &big,
    ] {
        let arrived = stage.arrive(&[line]).await;
        Stage::assert_arrived(&[line], &arrived, Some(line));
        // With a session beside it as well, whose cookie comes last.
        let both = [stage.ticket.as_bytes(), b"; ", line].concat();
        let arrived = stage.arrive(&[&both]).await;
        let expected = [line, b"; ", SESSION].concat();
        Stage::assert_arrived(&[&both], &arrived, Some(&expected));
    }
}

/// What lies between pairs is not a cookie; one line is what workers read (RFC 9113, 8.2.3).
#[tokio::test]
async fn pairs_are_joined_into_one_line() {
    let stage = Stage::set().await;
    type Row<'a> = (&'a [&'a [u8]], Option<&'a [u8]>);
    let table: &[Row<'_>] = &[
        (&[b"a=b;c=d"], Some(b"a=b; c=d")),
        (&[b" \ta = b \t;;\t; c=d ;"], Some(b"a = b; c=d")),
        (&[b"a=b", b"c=d"], Some(b"a=b; c=d")),
        (&[b"a=b;", b"", b" ; ", b"a=b"], Some(b"a=b; a=b")),
        (&[b""], None),
        (&[b" \t "], None),
        (&[b";;; ;"], None),
    ];
    for (lines, expected) in table {
        let arrived = stage.arrive(lines).await;
        Stage::assert_arrived(lines, &arrived, *expected);
    }
}

/// The known ways to put a cookie in a guarded one's place: trimming of Unicode blanks, `$Version`
/// readers, quotes, nameless cookies, PHP's and percent-decoding readers. Nothing of it reaches the
/// worker, what stands beside it does, and no session comes of it.
#[tokio::test]
async fn no_way_around_a_prefix_reaches_a_worker() {
    let stage = Stage::set().await;
    let (ticket, value) =
        (stage.ticket.as_bytes(), stage.ticket.split_once('=').expect("a pair").1);
    let named = |before: &[u8], name: &str, after: &[u8]| {
        [before, name.as_bytes(), after, b"=", value.as_bytes()].concat()
    };
    let mut plants: Vec<Vec<u8>> = vec![
        named(b"", "__host-shop", b""),
        named(b"", "__%48ost-shop", b""),
        named(b"", "..Host-shop", b""),
        named(b"", "__Host-shop[0]", b""),
        named(b"=", TICKET, b""),
        named(b"$Version=1,", TICKET, b""),
        named(b"$Version=1, ", TICKET, b""),
        named(b"x=\"a\",", TICKET, b""),
        TICKET.into(),
        format!("={TICKET}").into(),
        b"=__Host-x=1".to_vec(),
        b"=__Secure-x".to_vec(),
        b"\xe2\x80\x80__Secure-x=1".to_vec(),
        b"egg_sess=mine".to_vec(),
        b"EGG%5FSESS=mine".to_vec(),
        b"=EGG_SESS=mine".to_vec(),
        b"$Version=1, EGG_SESS=mine".to_vec(),
        b"EGG_SESS=mine".to_vec(),
        b"EGG_SESS.sig=mine".to_vec(),
        b"EGG.SESS[a]=mine".to_vec(),
        b"a=b EGG_SESS=mine".to_vec(),
        b"a=b\tegg%5Fsess=mine".to_vec(),
        b"a=\"EGG_SESS=mine\"".to_vec(),
        b"a=b EGG_SESS".to_vec(),
        b"a b EGG_SESS=mine=x".to_vec(),
    ];
    for blank in [
        &b"\x85"[..],
        b"\xa0",
        b"\xc2\x85",
        b"\xc2\xa0",
        b"\xe1\x9a\x80",
        b"\xe2\x80\x80",
        b"\xe2\x80\x8a",
        b"\xe2\x80\xa8",
        b"\xe2\x80\xa9",
        b"\xe2\x80\xaf",
        b"\xe2\x81\x9f",
        b"\xe3\x80\x80",
        b"\xef\xbb\xbf",
        b"\"",
    ] {
        plants.push(named(blank, TICKET, b""));
        plants.push(named(b"", TICKET, blank));
        plants.push([blank, b"EGG_SESS=mine"].concat());
        plants.push([b"EGG_SESS".as_slice(), blank, b"=mine"].concat());
    }
    for plant in &plants {
        let line = [b"a=1; ", plant.as_slice(), b"; \xe9=2"].concat();
        let arrived = stage.arrive(&[&line]).await;
        Stage::assert_arrived(&[&line], &arrived, Some(b"a=1; \xe9=2"));
        // Beside the true ticket it changes nothing.
        let both = [ticket, b"; ", line.as_slice()].concat();
        let arrived = stage.arrive(&[&both]).await;
        let expected = [b"a=1; \xe9=2; ", SESSION].concat();
        Stage::assert_arrived(&[&both], &arrived, Some(&expected));
    }
    let duplicates = "cloakroom_tickets_rejected_total{reason=\"duplicate\"}";
    assert_eq!(count(&stage.node, duplicates).await, 0, "none of them is a ticket");
}

/// Inside quotes a ticket is a ticket: a reader that thinks otherwise would see another cookie
/// than the browser has guarded.
#[tokio::test]
async fn quotes_hide_no_ticket() {
    let stage = Stage::set().await;
    let line = format!("a=\"b; {}; c=d\"", stage.ticket);
    let arrived = stage.arrive(&[line.as_bytes()]).await;
    let expected = [b"a=\"b; c=d\"; ", SESSION].concat();
    Stage::assert_arrived(&[line.as_bytes()], &arrived, Some(&expected));
    // Quotes around its value make it another value.
    let (name, value) = stage.ticket.split_once('=').expect("a pair");
    let quoted = format!("{name}=\"{value}\"");
    let arrived = stage.arrive(&[quoted.as_bytes()]).await;
    Stage::assert_arrived(&[quoted.as_bytes()], &arrived, None);
}

/// Two tickets are none, wherever they stand; what is beside them arrives.
#[tokio::test]
async fn two_tickets_are_none() {
    let stage = Stage::set().await;
    let ticket = stage.ticket.as_bytes();
    let empty = format!("{TICKET}=");
    let table: &[&[&[u8]]] = &[
        &[&[ticket, b"; a=1; ", ticket].concat()],
        &[ticket, b"a=1", ticket],
        &[&[ticket, b"; a=1"].concat(), empty.as_bytes()],
        &[&[empty.as_bytes(), b"; a=1; ", ticket].concat()],
    ];
    for lines in table {
        let arrived = stage.arrive(lines).await;
        Stage::assert_arrived(lines, &arrived, Some(b"a=1"));
    }
    let duplicates = "cloakroom_tickets_rejected_total{reason=\"duplicate\"}";
    assert_eq!(count(&stage.node, duplicates).await, 4);
}
