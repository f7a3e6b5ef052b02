//! Bodies of requests on their way to workers.

use super::group::Group;
use crate::support::http::response;
use crate::support::origin::Request;

pub fn groups() -> Vec<Group> {
    vec![
        taken_in(),
        streamed(),
        replaced(),
        variables(),
        limits(),
        expectations(),
        pages(),
        elsewhere(),
        repeated(),
        stalled(),
    ]
}

/// A body in each framing, and in none.
fn framed(target: &str, fields: &str, body: &[u8]) -> [Vec<u8>; 2] {
    let head =
        format!("POST {target} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n{fields}");
    let length = format!("{head}Content-Length: {}\r\n\r\n", body.len());
    let mut chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    for chunk in body.chunks(700) {
        chunked.extend_from_slice(format!("{:X};x=y\r\n", chunk.len()).as_bytes());
        chunked.extend_from_slice(chunk);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\nX-Trailer: x\r\n\r\n");
    [[length.as_bytes(), body].concat(), chunked]
}

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|at| b'a' + (at % 23) as u8).collect()
}

fn all(group: Group, targets: &[&str], lengths: &[usize]) -> Group {
    let cases =
        targets.iter().flat_map(|target| lengths.iter().map(move |length| (target, length)));
    cases.fold(group, |group, (target, length)| {
        framed(target, "", &content(*length)).into_iter().fold(group, Group::raw)
    })
}

/// The same where a worker hears that there is none.
fn all_empty(group: Group, targets: &[&str], lengths: &[usize]) -> Group {
    let cases =
        targets.iter().flat_map(|target| lengths.iter().map(move |length| (target, length)));
    cases.fold(group, |group, (target, length)| {
        framed(target, "", &content(*length))
            .into_iter()
            .fold(group, |group, raw| group.raw(raw).differs(EMPTY))
    })
}

const EMPTY: &str = "A POST or PUT without a body says so to workers, also where `proxy_method` has made it one: \
                     `Content-Length: 0`.";

fn taken_in() -> Group {
    let server = "client_body_buffer_size 1k; client_max_body_size 8k; \
        location / { proxy_pass http://{origin}; } \
        location /1.1 { proxy_http_version 1.1; proxy_pass http://{origin}; } \
        location /plain { client_body_in_single_buffer on; proxy_pass http://{origin}/put; } \
        location /file { client_body_in_file_only clean; client_body_temp_path {dir}/bodies 1 2; \
            proxy_pass http://{origin}; }";
    let group = Group::server("bodies that are taken in", server);
    let group = all(group, &["/", "/1.1", "/plain", "/file"], &[0, 1, 1024, 1025, 3000, 8192]);
    group
        .raw("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc")
        .raw("DELETE / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc")
        .raw("POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc")
        .raw("PUT /1.1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX")
        .raw("PUT / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n")
        .raw("PUT / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n")
        .raw([&behind("/", "", 3)[..], &behind("/1.1", "", 5000), &last()].concat())
        .raw([&behind("/file", "", 3)[..], &behind("/", "", 2000), &last()].concat())
}

/// A request that another one follows.
fn behind(target: &str, fields: &str, length: usize) -> Vec<u8> {
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: a.example\r\n{fields}Content-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), &content(length)].concat()
}

fn last() -> Vec<u8> {
    b"GET /last HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n".to_vec()
}

fn streamed() -> Group {
    let server = "client_max_body_size 8k; proxy_http_version 1.1; proxy_request_buffering off; \
        location / { proxy_pass http://{origin}; } \
        location /none { proxy_pass_request_body off; proxy_set_header Content-Length \"\"; proxy_pass http://{origin}; } \
        location /set { proxy_set_body abc; proxy_pass http://{origin}; }";
    let group = Group::server("bodies that are not taken in", server);
    let group = group.ignore(&["transfer-encoding", "content-length"]);
    let cases = [1, 1024, 8192].map(|length| framed("/", "", &content(length)));
    let group = cases.into_iter().flatten().fold(group, Group::raw);
    group
        .raw([behind("/", "", 3), last()].concat())
        .raw(framed("/", "Expect: 100-continue\r\n", b"abc")[0].clone())
        .differs(
            "Where a body is not buffered, `Expect` goes on to the worker, and its 100 comes back.",
        )
}

fn replaced() -> Group {
    let server = "client_body_buffer_size 1k; \
        location /none { proxy_pass_request_body off; proxy_set_header Content-Length \"\"; proxy_pass http://{origin}; } \
        location /fields { proxy_pass_request_headers off; proxy_pass http://{origin}; } \
        location /both { proxy_pass_request_body off; proxy_set_header Content-Length \"\"; proxy_pass_request_headers off; \
            proxy_pass http://{origin}; } \
        location /set { proxy_set_body abc; proxy_pass http://{origin}; } \
        location /copy { proxy_set_body \"<$request_body>\"; proxy_pass http://{origin}; } \
        location /length { proxy_set_body $content_length; proxy_pass http://{origin}; } \
        location /put { proxy_method PUT; proxy_pass http://{origin}; } \
        location /get { proxy_method GET; proxy_pass http://{origin}; } \
        location /all { proxy_method PATCH; proxy_set_body [$request_method]; \
            proxy_pass_request_headers off; proxy_set_header X-A $http_content_type; \
            proxy_pass http://{origin}; } \
        location /set/none { proxy_set_body abc; proxy_pass_request_body off; proxy_pass http://{origin}; }";
    let group = Group::server("bodies that others stand for", server);
    let targets = ["/fields", "/set", "/copy", "/all", "/set/none", "/put"];
    let group = all(group, &targets, &[3, 5000]);
    let group = all_empty(group, &["/none", "/both"], &[3, 5000]);
    let group = framed("/length", "", &content(12)).into_iter().take(1).fold(group, Group::raw);
    let group = framed("/get", "", &content(12)).into_iter().fold(group, Group::raw);
    let group = targets.iter().fold(group, |group, target| {
        group.raw([behind(target, "Content-Type: text/x\r\n", 3), last()].concat())
    });
    group.gets(&["/none", "/fields", "/both", "/set", "/copy", "/all", "/set/none"])
}

fn variables() -> Group {
    let http = "map $request_body_file $has_file { \"\" no; default yes; } \
        server { listen 127.0.0.1:{port}; client_body_buffer_size 1k; \
        proxy_set_header X-Body $request_body; proxy_set_header X-File $has_file; \
        proxy_set_header X-Length $content_length; add_header X-Body $request_body; \
        add_header X-File $has_file; client_body_temp_path {dir}/bodies; \
        location / { proxy_pass http://{origin}; } \
        location /on { client_body_in_file_only on; proxy_pass http://{origin}; } \
        location /clean { client_body_in_file_only clean; proxy_pass http://{origin}; } \
        location /single { client_body_in_single_buffer on; proxy_pass http://{origin}; } \
        location /return { return 200 [$request_body][$has_file][$content_length]; } }";
    let group = Group::new("variables of bodies", http);
    let group = all(group, &["/", "/on", "/clean", "/single", "/return"], &[3, 900, 5000]);
    let group = all(group, &["/", "/single"], &[0]);
    group.gets(&["/", "/on", "/return"])
}

fn limits() -> Group {
    let server = "client_max_body_size 100; \
        location / { proxy_pass http://{origin}; } \
        location /more { client_max_body_size 2000; client_body_buffer_size 1k; \
            proxy_pass http://{origin}; } \
        location /any { client_max_body_size 0; proxy_pass http://{origin}; } \
        location /page { client_max_body_size 3; error_page 413 /sorry; proxy_pass http://{origin}; } \
        location /sorry { client_max_body_size 1m; return 200 sorry; }";
    let group = Group::server("limits of bodies", server);
    let group = all(group, &["/"], &[99, 100, 101]);
    let group = all(group, &["/more"], &[1999, 2000, 2001]);
    all(group, &["/any", "/page"], &[3, 4, 5000])
}

fn expectations() -> Group {
    let server = "location / { proxy_pass http://{origin}; } \
        location /none { proxy_pass_request_body off; proxy_set_header Content-Length \"\"; proxy_pass http://{origin}; } \
        location /gone { proxy_pass http://{closed}; }";
    let mut group = Group::server("clients that wait for word", server);
    for expects in ["Expect: 100-continue\r\n", "Expect: 100-CONTINUE\r\n"] {
        for target in ["/", "/gone"] {
            group = framed(target, expects, b"abc").into_iter().fold(group, Group::raw);
        }
        for raw in framed("/none", expects, b"abc") {
            group = group.raw(raw).differs(EMPTY);
        }
    }
    group
        .raw("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc")
        .raw([behind("/", "Expect: 100-continue\r\n", 3), last()].concat())
}

/// The path says what the worker answers: a status, or where it leads.
fn leads(request: &Request) -> Vec<u8> {
    let path = request.target.split('?').next().unwrap_or_default();
    match path {
        "/accel" => response("200 OK", &[("X-Accel-Redirect", "/page")], b"not this"),
        _ if request.fields().has("x-again") => response("200 OK", &[], b"again"),
        "/404" | "/named/404" => response("404 None", &[], b"none"),
        "/named/503" => response("503 Busy", &[], b"busy"),
        _ => response("200 OK", &[], format!("{} {path}", request.method).as_bytes()),
    }
}

fn pages() -> Group {
    let server = "proxy_intercept_errors on; error_page 404 /page; client_body_buffer_size 1k; \
        location / { proxy_pass http://{origin}; } \
        location /named/ { error_page 404 503 = @named; proxy_pass http://{origin}; } \
        location /gone { error_page 502 /page; proxy_pass http://{closed}; } \
        location /gone/named { error_page 502 @named; proxy_pass http://{closed}; } \
        location /return { return 404; } \
        location /denied { deny all; error_page 403 /page; } \
        location /none/ { proxy_pass_request_body off; proxy_set_header Content-Length \"\"; error_page 502 = @named; \
            proxy_pass http://{closed}; } \
        location /text { error_page 404 /ok; proxy_pass http://{origin}/404; } \
        location = /ok { return 200 ok; } \
        location @named { proxy_set_header X-Again yes; proxy_pass http://{origin}; }";
    let group = Group::server("bodies and redirects inside", server).worker(leads);
    let targets = [
        "/404",
        "/accel",
        "/named/404",
        "/named/503",
        "/gone",
        "/gone/named",
        "/return",
        "/denied",
        "/none/",
        "/text",
    ];
    let group = all(group, &targets, &[3, 5000]);
    targets.iter().fold(group, |group, target| group.raw([behind(target, "", 7), last()].concat()))
}

/// What is asked after others have been, and what answers without them.
fn elsewhere() -> Group {
    let server = "root {dir}; client_body_buffer_size 1k; \
        location /file { } \
        location /asked { auth_request /auth/body; proxy_pass http://{origin}; } \
        location = /auth/body { internal; proxy_pass_request_body off; \
            proxy_set_header Content-Length \"\"; proxy_pass http://{second}; } \
        location /try { try_files /none @named; } \
        location /rewritten { rewrite ^ /new? last; } \
        location /new { proxy_pass http://{origin}; } \
        location @named { proxy_pass http://{origin}; }";
    let group = Group::server("bodies that go elsewhere", server)
        .second(|_| response("204 Fine", &[], b""))
        .file("file", "content");
    all(group, &["/asked", "/file", "/try", "/rewritten"], &[3, 5000])
}

fn repeated() -> Group {
    let http = "upstream first { server {closed} max_fails=0; server {origin} backup; } \
        upstream busy { server {second} max_fails=0; server {origin} backup; } \
        server { listen 127.0.0.1:{port}; client_body_buffer_size 1k; \
        location /gone { proxy_pass http://first; } \
        location /busy { proxy_next_upstream http_503; proxy_pass http://busy; } \
        location /again { proxy_next_upstream http_503 non_idempotent; proxy_pass http://busy; } \
        location /off { proxy_next_upstream http_503 non_idempotent; proxy_pass_request_body off; proxy_set_header Content-Length \"\"; \
            proxy_pass http://busy; } \
        location /set { proxy_next_upstream http_503 non_idempotent; proxy_set_body abc; \
            proxy_pass http://busy; } }";
    let group = Group::new("bodies that are sent again", http)
        .second(|_| response("503 Busy", &[], b"busy"));
    let group = all(group, &["/gone", "/busy", "/again", "/set"], &[0, 3, 5000]);
    let group = all_empty(group, &["/off"], &[0, 3, 5000]);
    group.ask("PUT", "a", "/busy", &[], "abc").ask("DELETE", "a", "/busy", &[], "abc").ask(
        "PATCH",
        "a",
        "/busy",
        &[],
        "abc",
    )
}

fn stalled() -> Group {
    let http = "client_body_timeout 1s; \
        server { listen 127.0.0.1:{port}; location / { proxy_pass http://{origin}; } }";
    let part = |fields: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n3\r\nab");
    Group::new("bodies that stop", http)
        .raw(part("Content-Length: 9\r\n"))
        .differs(STOPS)
        .raw(part("Transfer-Encoding: chunked\r\n"))
        .differs(STOPS)
}

const STOPS: &str = "A body that stops is answered with 408.";
