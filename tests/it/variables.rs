//! Variables and access logs: the same values as nginx's, and none of a session's secrets.

use std::path::Path;
use std::time::Duration;

use crate::support::client::{Connection, Dial};
use crate::support::http::response;
use crate::support::nginx::Nginx;
use crate::support::origin::{Request, Responder};
use crate::support::proxy::Binary;
use crate::support::{loopback, within};

/// Variables that both have, written between bars.
const NAMES: &[&str] = &[
    "remote_addr",
    "host",
    "request_method",
    "request_uri",
    "args",
    "query_string",
    "is_args",
    "arg_a",
    "arg_none",
    "cookie_c",
    "http_x_test",
    "http_cookie",
    "http_none",
    "content_length",
    "content_type",
    "status",
    "body_bytes_sent",
    "scheme",
    "https",
    "http2",
    "server_protocol",
    "server_name",
    "server_addr",
    "sent_http_content_type",
    "sent_http_content_length",
    "sent_http_transfer_encoding",
    "sent_http_x_own",
    "sent_http_none",
    "pipe",
    "request_completion",
    "remote_user",
    "connection_requests",
    "upstream_status",
    "upstream_cache_status",
    "ssl_protocol",
    "mapped",
    "hosted",
    "group",
    "where",
    "ranged",
    "behind",
    "variant",
    "later",
    "hostless",
];

/// The same definitions in nginx's language and in ours.
const OF_NGINX: &str = r#"
map $arg_a $mapped { default other; "" none; one 1; TWO "two-$arg_b"; ~^x(\d+)$ digits-$1; ~*^Y(?<group>.*)$ caseless; \default word; }
map $host $hosted { hostnames; default far; *.example.com wild; shop.example.com exact; www.example.* tail; .both.org both; }
map $mapped:$where $later { default $variant; ~^1: first; }
map $http_host $hostless { "" yes; default no; }
geo $where { default far; 127.0.0.0/8 near; 127.0.0.1 here; 10.0.0.0/8 inside; delete 127.0.0.1; }
geo $arg_ip $ranged { ranges; default none; 10.0.0.0-10.0.255.255 a; 10.0.1.0-10.0.1.255 b; }
geo $behind { default far; proxy 127.0.0.0/8; proxy_recursive; 10.0.0.0/8 inside; 127.0.0.0/8 proxy; 2001:db8::/32 six; }
split_clients "$arg_a$http_x_test" $variant { 20% a; 33.33% b; * rest; }
"#;
const OURS: &str = r#"
maps:
  $mapped:
    of: $arg_a
    default: other
    values: { "": none, one: "1", TWO: 'two-$arg_b', '~^x(\d+)$': 'digits-$1', '~*^Y(?<group>.*)$': caseless, '\default': word }
  $hosted:
    of: $host
    hostnames: true
    default: far
    values: { '*.example.com': wild, shop.example.com: exact, 'www.example.*': tail, .both.org: both }
  $later: { of: '$mapped:$where', default: $variant, values: { '~^1:': first } }
  $hostless: { of: $http_host, default: no, values: { "": yes } }
geos:
  $where:
    default: far
    values: { 127.0.0.0/8: near, 127.0.0.1: here, 10.0.0.0/8: inside }
    delete: [127.0.0.1]
  $ranged:
    of: $arg_ip
    ranges: true
    default: none
    values: { 10.0.0.0-10.0.255.255: a, 10.0.1.0-10.0.1.255: b }
  $behind:
    default: far
    proxies: [127.0.0.0/8]
    proxy_recursive: true
    values: { 10.0.0.0/8: inside, 127.0.0.0/8: proxy, '2001:db8::/32': six }
split_clients:
  $variant: { of: '$arg_a$http_x_test', values: { 20%: a, 33.33%: b, "*": rest } }
"#;

fn format(separator: &str) -> String {
    let named = NAMES.iter().map(|name| format!("{name}=${name}"));
    named.collect::<Vec<_>>().join(separator)
}

fn nginx(upstream: std::net::SocketAddr) -> Nginx {
    let logs: String = ["default", "json", "none"]
        .iter()
        .map(|escape| {
            let format = format("|");
            format!("log_format {escape}_all escape={escape} '{format}';\n")
        })
        .collect();
    let server = format!(
        "server_name shop.example.com; \
         access_log combined.log combined; access_log default.log default_all; \
         access_log json.log json_all; access_log none.log none_all; \
         access_log some.log combined if=$arg_log; \
         location / {{ proxy_pass http://{upstream}; proxy_set_header Host $host; \
         proxy_http_version 1.1; }}"
    );
    Nginx::serve(&format!("{logs}{OF_NGINX}"), &server)
}

fn ours(upstream: std::net::SocketAddr) -> String {
    let format = format("|");
    format!(
        "workers: 1\nstate_directory: '{{directory}}'\nstore: memory\n\
         listeners: [{{ address: '127.0.0.1:{{port}}' }}]\n\
         upstreams: {{ app: {{ endpoints: [{{ address: '{upstream}' }}] }} }}\n{OURS}\
         log_formats:\n  default_all: '{format}'\n  json_all: {{ escape: json, format: '{format}' }}\n  \
         none_all: {{ escape: none, format: '{format}' }}\n\
         defaults:\n  access_log:\n  - {{ path: combined.log }}\n  - {{ path: default.log, format: default_all }}\n  \
         - {{ path: json.log, format: json_all }}\n  - {{ path: none.log, format: none_all }}\n  \
         - {{ path: some.log, if: $arg_log }}\n\
         servers: [{{ names: [shop.example.com], routes: [{{ path: /, upstream: app }}] }}]\n"
    )
}

fn answer(request: &Request) -> Vec<u8> {
    match request.head.start.as_str() {
        start if start.contains("chunked") => {
            let head =
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/x\r\n\r\n";
            format!("{head}5\r\nhello\r\n0\r\n\r\n").into_bytes()
        }
        start if start.starts_with("HEAD") => {
            b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n".to_vec()
        }
        start if start.contains("missing") => response("404 Not Found", &[], b"not here"),
        _ => response("200 OK", &[("X-Own", "a\"b\\c"), ("Content-Type", "text/plain")], b"hello"),
    }
}

/// Raw requests, and whether the connection is kept.
fn requests() -> Vec<Vec<u8>> {
    let get = |target: &str, fields: &str| {
        format!("GET {target} HTTP/1.1\r\nHost: shop.example.com\r\n{fields}\r\n").into_bytes()
    };
    let mut all = vec![
        get("/", ""),
        get("/a/b?a=one&b=2", "X-Test: v\r\nCookie: c=1; d=2\r\nCookie: e=3\r\n"),
        get("/?A=two&b=%20x", "Referer: http://x/\"q\"\r\nUser-Agent: a\\b\u{e9}\t.\r\n"),
        get("/chunked?a=x42&log=1", "Authorization: Basic YWxpY2U6c2VjcmV0\r\n"),
        get("/missing?a=yeah&log=0", "x-test: 1\r\n"),
        get("/?a=default&log=", "Cookie: C=upper\r\n"),
        get("/?", "X-Forwarded-For: 10.1.2.3, 127.0.0.9\r\n"),
        get("/?ip=10.0.1.7&a=Yes", "X-Forwarded-For: 2001:db8::1\r\n"),
        get("/?ip=10.0.9.7", "X-Forwarded-For: nonsense\r\n"),
        get("/?ip=10.1.0.0&a", "Authorization: Basic !\r\n"),
        b"HEAD /head HTTP/1.1\r\nHost: A.Example.COM:81\r\n\r\n".to_vec(),
        b"POST /p HTTP/1.1\r\nHost: www.example.org\r\nContent-Length: 3\r\nContent-Type: a/b\r\n\r\nabc"
            .to_vec(),
        b"POST /p HTTP/1.1\r\nHost: x.both.org\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
            .to_vec(),
        b"GET /old HTTP/1.0\r\n\r\n".to_vec(),
        b"GET /old HTTP/1.0\r\nHost: both.org.\r\nConnection: keep-alive\r\n\r\n".to_vec(),
        b"GET http://shop.example.com/abs?a=one HTTP/1.1\r\nHost: shop.example.com\r\n\r\n".to_vec(),
    ];
    all.extend((0..200).map(|number| get(&format!("/?a={number}"), "")));
    all
}

/// The lines of a file, once there are so many, with what differs by its nature taken out.
async fn lines(path: &Path, number: usize) -> Vec<String> {
    within("lines of a log", async {
        loop {
            let text = std::fs::read(path).unwrap_or_default();
            let lines: Vec<String> = text
                .split_inclusive(|byte| *byte == b'\n')
                .map(|line| line.trim_ascii_end().escape_ascii().to_string())
                .collect();
            if lines.len() >= number {
                return lines;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}

/// `[30/Nov/2026:11:36:39 +0000]`: checked, and made the same.
fn without_time(line: &str) -> String {
    let (begin, rest) = line.split_once('[').expect("a time begins");
    let (time, end) = rest.split_once(']').expect("a time ends");
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    assert!(shape.starts_with("99/") && shape.len() == 26, "{line}");
    format!("{begin}[time]{end}")
}

async fn send(address: std::net::SocketAddr) {
    let mut client: Option<Connection> = None;
    for raw in requests() {
        let mut connection = match client.take() {
            Some(client) => client,
            None => Dial::to(address).connect().await,
        };
        connection.send(&raw).await;
        let answer = match raw.starts_with(b"HEAD") {
            true => connection.response_to_head().await,
            false => connection.response().await,
        };
        assert!(matches!(answer.status, 200 | 404), "{}", raw.escape_ascii());
        let closes = raw.windows(8).any(|part| part == b"HTTP/1.0");
        client = (!closes).then_some(connection);
    }
}

#[tokio::test]
async fn values_and_lines_are_those_of_nginx() {
    let origin = Responder::start(answer).await;
    let nginx = nginx(origin.address);
    let binary = Binary::serve(&ours(origin.address), &[]);
    send(nginx.address).await;
    send(loopback(binary.port)).await;
    let number = requests().len();
    let directory = binary.config().parent().expect("a directory").to_owned();
    for (file, number) in [("default.log", number), ("json.log", number), ("none.log", number)] {
        let (theirs, own) =
            (lines(&nginx.file(file), number).await, lines(&directory.join(file), number).await);
        assert_eq!(theirs.len(), own.len(), "{file}");
        for (theirs, own) in theirs.iter().zip(&own) {
            let differ: Vec<_> =
                theirs.split('|').zip(own.split('|')).filter(|(a, b)| a != b).collect();
            assert_eq!(theirs, own, "{file}: nginx, and we: {differ:#?}");
        }
    }
    for (file, number) in [("combined.log", number), ("some.log", 1)] {
        let theirs: Vec<_> =
            lines(&nginx.file(file), number).await.iter().map(|line| without_time(line)).collect();
        let own: Vec<_> = lines(&directory.join(file), number)
            .await
            .iter()
            .map(|line| without_time(line))
            .collect();
        assert_eq!(theirs, own, "{file}");
    }
}

const SECRET: &str = "s3cret-value";

fn with_sessions(origin: std::net::SocketAddr) -> String {
    format!(
        "workers: 1\nstate_directory: '{{directory}}'\nstore: memory\ninsecure_cookies: true\n\
         listeners: [{{ address: '127.0.0.1:{{port}}' }}]\n\
         sessions: {{ shop: {{ app_cookies: [sid] }}, plain: {{ mode: harden, app_cookies: [own] }} }}\n\
         upstreams: {{ app: {{ endpoints: [{{ address: '{origin}' }}] }} }}\n\
         maps: {{ $copied: {{ of: $http_cookie, values: {{ '~(.*)': '$1' }} }}, \
         $one: {{ of: $cookie_shop, values: {{ '~(.*)': '$1' }} }} }}\n\
         log_formats: {{ all: '$http_cookie|$cookie_shop|$cookie_SID|$cookie_sid|$cookie_own|$cookie_plain|\
         $sent_http_set_cookie|$copied|$one|$session_id|$session_policy|$session_event' }}\n\
         defaults: {{ access_log: {{ path: all.log, format: all }} }}\n\
         servers: [{{ routes: [{{ path: /, upstream: app, session: shop }}, \
         {{ path: /own/, upstream: app, session: plain }}] }}]\n"
    )
}

#[tokio::test]
async fn no_variable_shows_a_session_cookie_or_a_ticket() {
    let origin = Responder::start(|request| {
        let cookie = match request.head.start.contains("/own/") {
            true => format!("own={SECRET}; Path=/"),
            false => format!("sid={SECRET}; Path=/"),
        };
        response("200 OK", &[("Set-Cookie", &cookie), ("Set-Cookie", "theme=dark")], b"")
    })
    .await;
    let binary = Binary::serve(&with_sessions(origin.address), &[]);
    let mut client = Dial::to(loopback(binary.port)).connect().await;
    let first = client.get("shop.example.com", "/", &[]).await.expect(200);
    let ticket = first.set_cookies().into_iter().find(|cookie| cookie.starts_with("shop="));
    let ticket = ticket.expect("a ticket").split(';').next().expect("a pair").to_owned();
    let cookies = format!("theme=dark; {ticket}; sid={SECRET}; own={SECRET}; SID={SECRET}");
    client.get("shop.example.com", "/", &[("Cookie", &cookies)]).await.expect(200);
    client.get("shop.example.com", "/own/", &[("Cookie", &cookies)]).await.expect(200);
    let directory = binary.config().parent().expect("a directory");
    let lines = lines(&directory.join("all.log"), 3).await;
    let (_, value) = ticket.split_once('=').expect("a value");
    for line in &lines {
        assert!(!line.contains(SECRET) && !line.contains(value), "{line}");
    }
    let fields: Vec<&str> = lines[1].split('|').collect();
    let masked = "[redacted]";
    assert!(fields[0].starts_with("theme=dark; shop=[redacted]; sid=[redacted]"), "{}", lines[1]);
    assert_eq!((fields[1], fields[2], fields[3]), (masked, masked, masked));
    assert_eq!(fields[9].len(), 32, "a hash: {}", fields[9]);
    assert_eq!(fields[10], "shop");
    assert!(lines[0].contains("shop=[redacted];"), "{}", lines[0]);
    assert!(lines[0].contains("theme=dark"), "{}", lines[0]);
    assert!(lines[0].ends_with("|created"), "{}", lines[0]);
}

#[tokio::test]
async fn files_are_opened_anew_at_usr1_and_flushed_before_the_end() {
    let origin = Responder::start(|_| response("200 OK", &[], b"")).await;
    let yaml = format!(
        "workers: 1\nstate_directory: '{{directory}}'\nstore: memory\n\
         listeners: [{{ address: '127.0.0.1:{{port}}' }}]\n\
         upstreams: {{ app: {{ endpoints: [{{ address: '{}' }}] }} }}\n\
         log_formats: {{ path: $request_uri }}\n\
         defaults: {{ access_log: {{ path: a.log, format: path, buffer: 1MiB }} }}\n\
         servers: [{{ routes: [{{ path: /, upstream: app }}, {{ path: /quiet/, upstream: app, access_log: off }}, \
         {{ path: /own/, upstream: app, access_log: {{ path: 'by-$arg_name.log', format: path }} }}] }}]\n",
        origin.address
    );
    let mut binary = Binary::serve(&yaml, &[]);
    let directory = binary.config().parent().expect("a directory").to_owned();
    let mut client = Dial::to(loopback(binary.port)).connect().await;
    client.get("h", "/1", &[]).await.expect(200);
    client.get("h", "/quiet/", &[]).await.expect(200);
    client.get("h", "/own/?name=x", &[]).await.expect(200);
    assert_eq!(lines(&directory.join("by-x.log"), 1).await, ["/own/?name=x"]);
    let (path, moved) = (directory.join("a.log"), directory.join("a.log.1"));
    std::fs::rename(&path, &moved).expect("it can be moved");
    binary.process.signal("USR1");
    assert_eq!(lines(&moved, 1).await, ["/1"]);
    client.get("h", "/2", &[]).await.expect(200);
    drop(client);
    binary.process.signal("TERM");
    binary.process.wait_exit();
    assert_eq!(lines(&path, 1).await, ["/2"]);
    assert_eq!(lines(&moved, 1).await, ["/1"]);
}
