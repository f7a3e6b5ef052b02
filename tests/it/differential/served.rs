//! Files, and what workers answer.

use super::group::Group;
use crate::support::http::response;
use crate::support::origin::Request;

pub fn groups() -> Vec<Group> {
    vec![files(), lists(), answers()]
}

fn lists() -> Group {
    Group::server("lists", "root {dir}; location / { autoindex on; }")
        .file("list/a.txt", "a")
        .file("list/b.html", "b")
        .ignore(&["transfer-encoding", "content-length"])
        .gets(&["/list/", "/list/?x"])
}

fn files() -> Group {
    Group::server(
        "files",
        "root {dir}; index index.html; location /alias/ { alias {dir}/sub/; } \
         location ~ \\.txt$ { expires 1h; } \
         location /plain { default_type text/x-plain; charset utf-8; }",
    )
    .file("index.html", "<p>index")
    .file("sub/index.html", "sub")
    .file("sub/a b.txt", "0123456789")
    .file("plain/x", "x")
    .gets(&["/", "/index.html", "/sub", "/sub/", "/sub?x", "/alias/", "/alias/a%20b.txt", "/alias"])
    .gets(&[
        "/none",
        "/none/",
        "/plain/x",
        "/plain/",
        "/sub/../index.html",
        "/sub//a%20b.txt",
        "/index.html/",
        "/sub/a%20b.txt?y",
    ])
    .get_with("/sub/a%20b.txt", &["Range: bytes=2-4"])
    .get_with("/sub/a%20b.txt", &["Range: bytes=-3"])
    .get_with("/sub/a%20b.txt", &["If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT"])
    .get_with("/sub/a%20b.txt", &["If-None-Match: *"])
    .get_with("/sub/a%20b.txt", &["If-Match: \"none\""])
    .ask("HEAD", "a.example", "/index.html", &[], "")
    .ask("POST", "a.example", "/index.html", &[], "x")
    .ask("PUT", "a.example", "/index.html", &[], "x")
    .ask("OPTIONS", "a.example", "/index.html", &[], "")
}

/// The path says what the worker answers.
fn worker(request: &Request) -> Vec<u8> {
    match request.target.trim_start_matches('/') {
        "204" => b"HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n".to_vec(),
        "304" => b"HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n".to_vec(),
        "404" => response("404 Not Found", &[("X-A", "b")], b"gone"),
        "500" => response("500 Oops", &[("X-A", "b")], b"oops"),
        "302" => response("302 Found", &[("Location", "/there")], b""),
        "cookies" => response("200 OK", &[("Set-Cookie", "a=b; Path=/"), ("Set-Cookie", "c=d")], b"x"),
        "chunks" => {
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n".to_vec()
        }
        "interim" => {
            [&b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"[..], &response("200 OK", &[], b"x")].concat()
        }
        "empty" => response("200 OK", &[("X-Empty", "")], b""),
        "conditions" => response(
            "200 OK",
            &[("ETag", "\"a\""), ("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT"), ("Cache-Control", "no-cache")],
            b"0123456789",
        ),
        _ => response("200 OK", &[], request.target.as_bytes()),
    }
}

fn answers() -> Group {
    Group::server(
        "answers of workers",
        "proxy_http_version 1.1; location / { proxy_pass http://{origin}; }",
    )
    .worker(worker)
    .gets(&[
        "/204",
        "/304",
        "/404",
        "/500",
        "/302",
        "/cookies",
        "/chunks",
        "/empty",
        "/conditions",
        "/none",
        "/x",
    ])
    .get_with("/conditions", &["If-None-Match: \"a\""])
    .get_with("/conditions", &["Range: bytes=1-2"])
    .ask("HEAD", "a.example", "/conditions", &[], "")
    .ask("POST", "a.example", "/x", &[], "body")
}
