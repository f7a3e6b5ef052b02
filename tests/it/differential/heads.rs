//! What heads may have: room, fields, names, time; and what stands for one that makes no request.

use super::group::{Group, echo};

pub fn groups() -> Vec<Group> {
    vec![room(), room_by_host(), defaults(), pages(), redirected(), names_by_host(), unchunked()]
}

/// A request line of so many bytes.
fn line(bytes: usize) -> String {
    format!("GET /{} HTTP/1.1\r\n", "a".repeat(bytes - "GET / HTTP/1.1\r\n".len()))
}

/// A field of so many bytes.
fn field(bytes: usize) -> String {
    format!("X: {}\r\n", "b".repeat(bytes - "X: \r\n".len()))
}

fn fields(number: usize, bytes: usize) -> String {
    field(bytes).repeat(number)
}

const HOST: &str = "Host: a.example\r\nConnection: close\r\n";

fn head(line: &str, fields: &str) -> String {
    format!("{line}{HOST}{fields}\r\n")
}

fn room() -> Group {
    let server = "client_header_buffer_size 128; large_client_header_buffers 2 512; \
                  location / { return 200 ok; }";
    let group = Group::server("room for heads", server);
    let lines = [127, 128, 129, 130, 511, 512, 513, 600, 2000];
    let group = lines.iter().fold(group, |group, bytes| group.raw(head(&line(*bytes), "")));
    let one = [100, 400, 511, 512, 513, 514, 700];
    let group = one.iter().fold(group, |group, bytes| {
        group.raw(head(&line(40), &field(*bytes))).raw(head(&line(100), &field(*bytes)))
    });
    let several = [(1, 500), (2, 500), (3, 500), (2, 512), (3, 300), (4, 250), (5, 250), (12, 100)];
    let group = several
        .iter()
        .fold(group, |group, (number, bytes)| group.raw(head(&line(40), &fields(*number, *bytes))));
    // To the byte: the lines before it fill a buffer, or leave as much as the next one needs.
    (400..=430).step_by(3).fold(group, |group, bytes| {
        group.raw(head(&line(60), &[fields(1, bytes), fields(6, 100)].concat()))
    })
}

fn room_by_host() -> Group {
    let http = "client_header_buffer_size 128; connection_pool_size 128; \
        server { listen 127.0.0.1:{port}; server_name five; large_client_header_buffers 5 256; return 200 five; } \
        server { listen 127.0.0.1:{port}; server_name ten; large_client_header_buffers 10 256; return 200 ten; } \
        server { listen 127.0.0.1:{port}; server_name one; large_client_header_buffers 1 256; return 200 one; } \
        server { listen 127.0.0.1:{port}; server_name wide; large_client_header_buffers 5 2k; return 200 wide; }";
    let mut group = Group::new("room for heads by the host", http);
    for host in ["five", "ten", "one", "wide", "none"] {
        for (number, bytes) in
            [(1, 200), (3, 200), (5, 200), (6, 200), (10, 200), (12, 200), (1, 257), (2, 900)]
        {
            let fields = fields(number, bytes);
            group = group.raw(format!(
                "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{fields}\r\n"
            ));
        }
    }
    group
        .raw(format!("GET / HTTP/1.1\r\n{}Host: ten\r\nConnection: close\r\n\r\n", fields(6, 200)))
        .raw(format!(
            "GET http://ten/ HTTP/1.1\r\nHost: ten\r\nConnection: close\r\n{}\r\n",
            fields(8, 200)
        ))
}

fn defaults() -> Group {
    let group =
        Group::server("room for heads where nothing is said", "location / { return 200 ok; }");
    let group = [8190, 8191, 8192, 8193, 9000]
        .iter()
        .fold(group, |group, bytes| group.raw(head(&line(*bytes), "")));
    [(1, 8192), (1, 8193), (3, 8000), (4, 8000), (5, 8000), (130, 20), (300, 20)]
        .iter()
        .fold(group, |group, (number, bytes)| group.raw(head(&line(40), &fields(*number, *bytes))))
}

/// Heads that make no request, each for a reason of its own.
fn refused() -> Vec<String> {
    let close = "Connection: close\r\n";
    vec![
        head(&line(600), ""),
        head(&line(40), &field(600)),
        head(&line(40), "X y: z\r\n"),
        head("GET /% HTTP/1.1\r\n", ""),
        head("GET  HTTP/1.1\r\n", ""),
        format!("GET / HTTP/1.1\r\n{close}\r\n"),
        head("GET / HTTP/1.1\r\n", "Host: b\r\n"),
        head("GET / HTTP/1.1\r\n", "Content-Length: x\r\n"),
        head("GET / HTTP/1.1\r\n", "Transfer-Encoding: gzip\r\n"),
        format!("GET / HTTP/1.1\r\nHost: a..b\r\n{close}\r\n"),
        head("TRACE / HTTP/1.1\r\n", ""),
        head("GET / HTTP/3.0\r\n", ""),
    ]
}

fn pages() -> Group {
    let server = "client_header_buffer_size 128; large_client_header_buffers 2 512; \
                  error_page 494 /large; error_page 414 =200 /long; error_page 400 @bad; \
                  error_page 405 501 505 /other; \
                  location / { return 200 ok; } \
                  location = /large { return 200 'large $uri $request_method'; } \
                  location = /long { return 200 'long $uri $status'; } \
                  location @bad { return 200 'bad'; } \
                  location = /other { add_header X-Why $status always; proxy_pass http://{origin}; }";
    let unread = [3, 4];
    let group = Group::server("pages for what is no request", server);
    refused().iter().enumerate().fold(group, |group, (number, raw)| {
        match unread.contains(&number) {
            true => group.raw(raw).differs(
                "A path that cannot be read has its `error_page`, also where that is `@name`.",
            ),
            false => group.raw(raw),
        }
    })
}

fn redirected() -> Group {
    let server = "client_header_buffer_size 128; large_client_header_buffers 2 512; \
                  error_page 400 414 494 https://other.example/why; \
                  location / { return 200 ok; }";
    refused().iter().fold(Group::server("redirects for what is no request", server), Group::raw)
}

fn names_by_host() -> Group {
    let http = "server { listen 127.0.0.1:{port}; server_name first; return 200 '[$http_x_a]'; } \
        server { listen 127.0.0.1:{port}; server_name under; underscores_in_headers on; return 200 '[$http_x_a]'; } \
        server { listen 127.0.0.1:{port}; server_name any; ignore_invalid_headers off; return 200 '[$http_x_a] [$http_x.b]'; }";
    let mut group = Group::new("names of fields by the host", http);
    for host in ["first", "under", "any"] {
        for fields in ["X_A: c\r\n", "X-A: c\r\n"] {
            let host = format!("Host: {host}\r\n");
            let close = "Connection: close\r\n\r\n";
            group = group
                .raw(format!("GET / HTTP/1.1\r\n{host}{fields}{close}"))
                .raw(format!("GET / HTTP/1.1\r\n{fields}{host}{close}"));
        }
    }
    group
}

fn unchunked() -> Group {
    let server = "location / { chunked_transfer_encoding off; proxy_pass http://{origin}; } \
                  location /on { proxy_pass http://{origin}; } \
                  location /lingers { lingering_close always; lingering_timeout 1s; lingering_time 2s; return 200 ok; } \
                  location /never { lingering_close off; return 200 ok; } \
                  location /reset { reset_timedout_connection on; return 444; } \
                  location /send { send_timeout 5s; return 200 ok; }";
    let of_any_length = |_: &_| {
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n".to_vec()
    };
    Group::server("how answers are carried", server)
        .worker(of_any_length)
        .second(echo)
        .gets(&["/", "/on", "/lingers", "/never", "/send"])
        .raw("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /on HTTP/1.1\r\nHost: a\r\n\r\n")
        .raw("GET / HTTP/1.0\r\nHost: a\r\n\r\n")
        .ask("HEAD", "a.example", "/", &[], "")
}
