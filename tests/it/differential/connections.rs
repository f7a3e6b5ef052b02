//! Bytes on connections: request lines, fields, persistence, pages, listening addresses.

use super::group::Group;

pub fn groups() -> Vec<Group> {
    vec![
        request_lines(),
        fields(),
        names_of_fields(),
        hosts(),
        persistence(),
        persistence_by_place(),
        bodies(),
        pages(),
        tokens(),
        proxied_server(),
        padding(),
        sockets(),
        addresses(),
        proxy_protocol(),
        real_addresses(),
    ]
}

const PLAIN: &str =
    "location / { return 200 'uri $uri args $args host $host method $request_method'; }";

fn close(line: &str, fields: &str) -> String {
    format!("{line}\r\nHost: a.example\r\nConnection: close\r\n{fields}\r\n")
}

fn request_lines() -> Group {
    let lines = [
        "GET / HTTP/1.1",
        "GET /a%20b HTTP/1.1",
        "GET /a?b=c&d HTTP/1.1",
        "GET http://b.example/x?y HTTP/1.1",
        "GET http://b.example HTTP/1.1",
        "GET http://b.example?x HTTP/1.1",
        "GET https://b.example/x HTTP/1.1",
        "OPTIONS / HTTP/1.1",
        "POST / HTTP/1.1",
        "DELETE /x HTTP/1.1",
        "PROPFIND /x HTTP/1.1",
        "MKCOL /x HTTP/1.1",
        "X-METHOD /x HTTP/1.1",
        "TRACE / HTTP/1.1",
        "GET / HTTP/1.2",
        "GET / HTTP/2.0",
        "GET / HTTP/1.1x",
        "GET / HTTP/x.1",
        "GET / XTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET /\x01 HTTP/1.1",
        "GET /%00 HTTP/1.1",
        "GET /%zz HTTP/1.1",
        "GET /% HTTP/1.1",
        "GET x HTTP/1.1",
        "GET ../x HTTP/1.1",
        "GET /../x HTTP/1.1",
        "GET /a/../../x HTTP/1.1",
        "GET /#x HTTP/1.1",
        "GET /a#b?c HTTP/1.1",
        "GET ?x HTTP/1.1",
        " GET / HTTP/1.1",
        "GET",
        "G",
    ];
    let group = Group::server("request lines", PLAIN);
    let group = lines.iter().fold(group, |group, line| group.raw(close(line, "")));
    group
        .raw(close("get / HTTP/1.1", ""))
        .differs("A method may be any token (RFC 9110 section 9.1).")
        .raw("\r\nGET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")
        .raw("\r\n\r\n\nGET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")
        .raw("GET / HTTP/1.1\nHost: a.example\nConnection: close\n\n")
        .raw("GET / HTTP/1.0\r\n\r\n")
        .raw("GET / HTTP/1.0\r\nHost: b.example\r\n\r\n")
        .raw("HEAD / HTTP/1.0\r\n\r\n")
        .raw("\x16\x03\x01\x02\x00\x01")
}

fn fields() -> Group {
    let lines = [
        "X-A: b\r\n",
        "X-A:b\r\n",
        "X-A:\r\n",
        "X-A:   b  \r\n",
        "X_A: b\r\n",
        "X!A: b\r\n",
        "X.A: b\r\n",
        "X-A: \u{e9}\r\n",
        "X-A : b\r\n",
        "X A: b\r\n",
        ": b\r\n",
        "X-A: b\r\n c\r\n",
        "X-A: a\0b\r\n",
        "X\x01A: b\r\n",
        "Content-Length: x\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 0\r\nContent-Length: 0\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        "If-Modified-Since: x\r\nIf-Modified-Since: x\r\n",
        "Authorization: a\r\nAuthorization: b\r\n",
    ];
    let server =
        "location / { return 200 'a [$http_x_a] accept [$http_accept] length [$content_length]'; }";
    let group = Group::server("fields", server);
    let group = lines.iter().fold(group, |group, lines| group.raw(close("GET / HTTP/1.1", lines)));
    let strict = "A field line without a colon, or with a control character, is 400.";
    group
        .raw(close("GET / HTTP/1.1", "X-A\r\n"))
        .differs(strict)
        .raw(close("GET / HTTP/1.1", "X-A: \x01b\r\n"))
        .differs(strict)
        .raw(close("GET / HTTP/1.1", "Expect: 100-continue\r\n"))
        .differs(NOT_AWAITED)
        .raw(close("GET / HTTP/1.1", "Accept: a\r\nAccept: b\r\n"))
        .differs("Several fields of one name are joined in `$http_…`, as nginx has it since 1.23.")
}

/// Which names of fields count.
fn names_of_fields() -> Group {
    let http = "server { listen 127.0.0.1:{port}; underscores_in_headers on; \
                location / { proxy_pass http://{origin}; } } \
                server { listen 127.0.0.1:{other}; ignore_invalid_headers off; \
                location / { return 200 '[$http_x_a] [$http_x_b]'; } }";
    let lines = ["X_A: b\r\n", "X.B: c\r\n", "X!B: c\r\nX-B: d\r\n"];
    let group = Group::new("names of fields", http);
    lines.iter().fold(group, |group, lines| {
        group.raw(close("GET / HTTP/1.1", lines)).raw(close("GET / HTTP/1.1", lines)).elsewhere()
    })
}

const NOT_AWAITED: &str =
    "`100 Continue` is sent where a body is read for somebody, and nowhere else.";

fn hosts() -> Group {
    let http = "server { listen 127.0.0.1:{port} default_server; server_name first.example; \
                location / { return 200 'first [$host] [$http_host]'; } } \
                server { listen 127.0.0.1:{port}; server_name a.example; \
                location / { return 200 'a [$host] [$http_host]'; } }";
    let hosts = [
        "a.example",
        "A.EXAMPLE",
        "a.example:80",
        "a.example.",
        "b.example",
        "",
        "[::1]",
        "1.2.3.4",
        "a..example",
        "a/b",
    ];
    let group = Group::new("hosts", http);
    let group = hosts.iter().fold(group, |group, host| {
        group.raw(format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
    });
    group
        .raw("GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
        .raw("GET / HTTP/1.1\r\nHost: a.example\r\nHost: a.example\r\nConnection: close\r\n\r\n")
        .raw("GET / HTTP/1.1\r\nHost: a\\b\r\nConnection: close\r\n\r\n")
        .differs(LAX)
        .raw("GET / HTTP/1.1\r\nHost: a.example:80:80\r\nConnection: close\r\n\r\n")
        .differs(LAX)
        .raw("GET http://a.example/ HTTP/1.1\r\nHost: b.example\r\nConnection: close\r\n\r\n")
        .differs(COUNTS)
        .raw("GET http://A.example:99/ HTTP/1.1\r\nHost: b.example\r\nConnection: close\r\n\r\n")
        .differs(COUNTS)
}

const LAX: &str = "Hosts with anything but letters, digits, `-`, `_` and dots, or with another port than a \
                   number, are 400.";
const COUNTS: &str = "The authority of a target in absolute form is `$http_host`, too.";

/// Requests behind one another, on one connection.
fn persistence() -> Group {
    let keep = "GET /one HTTP/1.1\r\nHost: a.example\r\n\r\n";
    let last = close("GET /two HTTP/1.1", "");
    Group::server("persistence", PLAIN)
        .raw(format!("{keep}{last}"))
        .raw(format!("{keep}{keep}{keep}{last}"))
        .raw(format!("{last}{keep}"))
        .raw(format!("{keep}GET /0 HTTP/1.0\r\n\r\n"))
        .raw("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /two HTTP/1.0\r\n\r\n")
        .raw("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\nGET /two HTTP/1.0\r\nConnection: close\r\n\r\n")
        .raw("GET / HTTP/1.1\r\nHost: a\r\nConnection: CLOSE\r\n\r\n")
        .raw("GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\nGET /2 HTTP/1.0\r\n\r\n")
        .raw(format!("GET /% HTTP/1.1\r\nHost: a\r\n\r\n{last}"))
        .raw(format!("GET /x HTTP/1.1\r\n\r\n{last}"))
        .raw(format!("{keep}GARBAGE\r\n\r\n"))
}

fn persistence_by_place() -> Group {
    let server = "keepalive_timeout 65 60; \
                  location / { return 200 ok; } \
                  location /none { keepalive_timeout 0; return 200 none; } \
                  location /plain { keepalive_timeout 30; return 200 plain; } \
                  location /few { keepalive_requests 2; return 200 few; } \
                  location /error { return 404; } \
                  location /browser { keepalive_disable safari msie6; return 200 browser; }";
    let get =
        |target: &str, lines: &str| format!("GET {target} HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
    let last = close("GET /plain HTTP/1.1", "");
    let old = "User-Agent: Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)\r\n";
    let safari = "User-Agent: Mozilla/5.0 (Macintosh; Mac OS X) Safari/533\r\n";
    let post = |target: &str, lines: &str| {
        format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n{lines}\r\n")
    };
    Group::server("persistence by place", server)
        .raw([get("/", ""), last.clone()].concat())
        .raw([get("/none", ""), last.clone()].concat())
        .raw([get("/plain", ""), last.clone()].concat())
        .raw([get("/few", ""), get("/few", ""), get("/few", "")].concat())
        .raw([get("/", ""), get("/", ""), get("/few", ""), last.clone()].concat())
        .raw([get("/error", ""), last.clone()].concat())
        .raw([get("/", old), last.clone()].concat())
        .raw([post("/", old), last.clone()].concat())
        .raw([get("/browser", safari), last.clone()].concat())
        .raw([get("/", safari), last.clone()].concat())
        .raw(format!("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n{last}"))
}

fn bodies() -> Group {
    let server = "client_max_body_size 8; location / { return 200 'body $content_length'; } \
                  location /p { proxy_pass http://{origin}; } location = /413 { return 200 sorry; }";
    let post = |target: &str, lines: &str, body: &str| {
        format!("POST {target} HTTP/1.1\r\nHost: a\r\n{lines}\r\n{body}")
    };
    let last = close("GET /next HTTP/1.1", "");
    let chunked = "Transfer-Encoding: chunked\r\n";
    Group::server("bodies that nobody reads", server)
        .raw([post("/", "Content-Length: 4\r\n", "body"), last.clone()].concat())
        .raw([post("/", chunked, "3\r\nabc\r\n0\r\n\r\n"), last.clone()].concat())
        .raw([post("/p", "Content-Length: 4\r\n", "body"), last.clone()].concat())
        .raw([post("/p", "Content-Length: 9\r\nConnection: close\r\n", "123456789")].concat())
        .raw(
            [post("/", "Content-Length: 4\r\nExpect: 100-continue\r\n", "body"), last.clone()]
                .concat(),
        )
        .differs(NOT_AWAITED)
        .raw(post("/", "Content-Length: 4\r\nConnection: close\r\n", "body"))
        .raw("POST / HTTP/1.0\r\nContent-Length: 4\r\n\r\nbody")
        .raw("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
}

/// Pages that the server makes.
fn pages() -> Group {
    let statuses = [
        301, 302, 303, 307, 308, 400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412,
        413, 414, 415, 416, 417, 418, 421, 422, 423, 426, 428, 429, 431, 451, 500, 501, 502, 503,
        504, 505, 506, 507, 508, 511, 599, 204, 201,
    ];
    let locations: String = statuses
        .iter()
        .map(|status| match status {
            301..=308 => format!("location /{status} {{ return {status} /to; }}\n"),
            _ => format!("location /{status} {{ return {status}; }}\n"),
        })
        .collect();
    let group =
        Group::server("pages", &format!("{locations} location /texts {{ return 404 'a text'; }}"));
    let group = statuses.iter().fold(group, |group, status| group.get(&format!("/{status}")));
    group
        .get("/texts")
        .get("/nowhere")
        .ask("HEAD", "a.example", "/404", &[], "")
        .ask("HEAD", "a.example", "/301", &[], "")
        .raw("GET /404 HTTP/1.0\r\n\r\n")
        .ask("POST", "a.example", "/403", &[], "body")
}

fn tokens() -> Group {
    let server = "location / { return 404; } location /off { server_tokens off; return 404; } \
                  location /text { server_tokens off; return 200 text; }";
    Group::server("server_tokens", server)
        .gets(&["/", "/off", "/text"])
        .raw("GET / HTTP/9.9\r\n\r\n")
}

/// A worker's `Server` and `Date` stay with it.
fn proxied_server() -> Group {
    let server = "location / { proxy_pass http://{origin}; } \
                  location /off { server_tokens off; proxy_pass http://{origin}; } \
                  location /gone { proxy_pass http://{closed}; }";
    Group::server("a worker's Server", server)
        .worker(|_| {
            b"HTTP/1.1 200 Fine\r\nServer: worker/1\r\nContent-Length: 2\r\n\r\nok".to_vec()
        })
        .gets(&["/", "/off", "/gone"])
}

fn padding() -> Group {
    let server = "location / { return 404; } location /short { msie_padding off; return 404; } \
                  location /moved { return 301 /x; }";
    let chrome = "User-Agent: Mozilla/5.0 (X11; Linux) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari/537.36";
    let msie = "User-Agent: Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 6.0)";
    let firefox = "User-Agent: Mozilla/5.0 (X11; Linux; rv:120.0) Gecko/20100101 Firefox/120.0";
    let opera = "User-Agent: Mozilla/4.0 (compatible; MSIE 6.0; Windows) Opera 7.54";
    let group = Group::server("pages for browsers that show their own", server);
    [chrome, msie, firefox, opera].iter().fold(group, |group, agent| {
        group.get_with("/", &[agent]).get_with("/short", &[agent]).get_with("/moved", &[agent])
    })
}

/// What is asked of sockets changes nothing of what is said over them.
fn sockets() -> Group {
    let http = "server { listen 127.0.0.1:{port} backlog=7 rcvbuf=16k sndbuf=16k so_keepalive=30m::10 deferred; \
                server_name a; return 200 '$server_addr $server_port $remote_addr'; } \
                server { listen [::]:{other} ipv6only=off so_keepalive=on reuseport; server_name b; return 200 '$server_port $server_name'; }";
    Group::new("what is asked of sockets", http).get("/").ask("GET", "b", "/", &[], "").elsewhere()
}

fn addresses() -> Group {
    let http = "server { listen 127.0.0.1:{port}; server_name a; return 200 'a $server_port'; } \
                server { listen *:{other} default_server; server_name b; return 200 'b $server_addr'; } \
                server { listen 127.0.0.1:{port} default_server backlog=16 rcvbuf=64k sndbuf=64k; server_name c; return 200 c; } \
                server { listen {other}; server_name d; return 200 'd $server_port'; }";
    Group::new("addresses", http)
        .ask("GET", "a", "/", &[], "")
        .ask("GET", "b", "/", &[], "")
        .ask("GET", "x", "/", &[], "")
        .ask("GET", "b", "/", &[], "")
        .elsewhere()
        .ask("GET", "d", "/", &[], "")
        .elsewhere()
        .ask("GET", "x", "/", &[], "")
        .elsewhere()
}

fn proxy_protocol() -> Group {
    let http = "server { listen 127.0.0.1:{port} proxy_protocol; return 200 \
                '[$proxy_protocol_addr] [$proxy_protocol_port] [$proxy_protocol_server_addr] \
                [$proxy_protocol_server_port] [$remote_addr]'; }";
    let get = "GET / HTTP/1.0\r\n\r\n";
    let lines = [
        "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n",
        "PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n",
        "PROXY UNKNOWN\r\n",
        "PROXY UNKNOWN 1 2 3 4\r\n",
        "PROXY TCP4 x y 1 2\r\n",
        "PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY\r\n",
        "",
    ];
    let second = |command: u8, family: u8, body: &[u8]| {
        let length = u16::try_from(body.len()).expect("short").to_be_bytes();
        [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &length, body, get.as_bytes()].concat()
    };
    let group = Group::new("PROXY protocol", http);
    let group = lines.iter().fold(group, |group, line| group.raw(format!("{line}{get}")));
    let v4 = [192, 0, 2, 1, 192, 0, 2, 2, 0xdc, 4, 1, 0xbb];
    group
        .raw(second(0x21, 0x11, &v4))
        .raw(second(0x20, 0x00, &[]))
        .raw(second(0x21, 0x11, &[&v4[..], &[1, 0, 2, b'h', b'2']].concat()))
        .raw(second(0x11, 0x11, &v4))
        .raw(second(0x21, 0x11, &v4[..4]))
}

/// What a load balancer says, believed.
fn real_addresses() -> Group {
    let http = "server { listen 127.0.0.1:{port} proxy_protocol; set_real_ip_from 127.0.0.1; \
                real_ip_header proxy_protocol; \
                location / { return 200 '[$remote_addr] [$remote_port] [$realip_remote_addr]'; } \
                location /files { deny 192.0.2.1; } }";
    let ask = |line: &str, target: &str| format!("{line}\r\nGET {target} HTTP/1.0\r\n\r\n");
    let known = "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443";
    Group::new("real addresses by the PROXY protocol", http)
        .raw(ask(known, "/"))
        .raw(ask("PROXY TCP6 2001:db8::1 2001:db8::2 1 2", "/"))
        .raw(ask(known, "/files"))
}
