//! `gzip` and `gunzip`.

use std::io::Write;

use super::group::Group;
use crate::support::http::response;
use crate::support::origin::Request;

pub fn groups() -> Vec<Group> {
    let mut groups = vec![accepting(), files(), unpacking()];
    for (name, rules) in [
        ("gzip: off", "gzip off;"),
        ("gzip: types", "gzip on; gzip_types text/plain application/json;"),
        ("gzip: any type", "gzip on; gzip_types *; gzip_vary on;"),
        ("gzip: length", "gzip on; gzip_types text/plain; gzip_min_length 100;"),
        ("gzip: versions", "gzip on; gzip_types text/plain; gzip_http_version 1.0; gzip_vary on;"),
        ("gzip: level", "gzip on; gzip_types text/plain; gzip_comp_level 9;"),
    ] {
        groups.push(asked(name, rules));
    }
    for (name, rules) in [
        ("proxied: none", ""),
        ("proxied: any", "gzip_proxied any;"),
        ("proxied: expired", "gzip_proxied expired;"),
        ("proxied: said", "gzip_proxied no-cache no-store private;"),
        ("proxied: validators", "gzip_proxied no_last_modified no_etag;"),
        ("proxied: auth", "gzip_proxied auth;"),
        (
            "proxied: all",
            "gzip_proxied expired no-cache no-store private no_last_modified no_etag auth;",
        ),
    ] {
        groups.push(proxied(name, rules));
    }
    groups
}

/// The path's words: status, media type (with `_` for `/`), length, and more fields.
fn worker(request: &Request) -> Vec<u8> {
    let words: Vec<&str> = request.target.trim_start_matches('/').split('|').collect();
    let word = |n: usize| words.get(n).copied().unwrap_or_default();
    let media_type = word(1).replace('_', "/");
    let body = "text ".repeat(40).into_bytes();
    let body = &body[..word(2).parse().unwrap_or(body.len())];
    let mut fields = vec![("Content-Type", media_type.as_str())];
    let more = match word(3) {
        "strong" => vec![
            ("ETag", "\"abc\""),
            ("Accept-Ranges", "bytes"),
            ("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ],
        "weak" => vec![("ETag", "W/\"abc\"")],
        "odd" => vec![("ETag", "abc")],
        "coded" => vec![("Content-Encoding", "br")],
        "vary" => vec![("Vary", "Cookie")],
        "expired" => vec![("Expires", "Sun, 06 Nov 1994 08:49:37 GMT")],
        "fresh" => vec![("Expires", "Sun, 06 Nov 2094 08:49:37 GMT")],
        "never" => vec![("Expires", "0")],
        "no-cache" => vec![("Cache-Control", "no-cache")],
        "no-store" => vec![("Cache-Control", "max-age=0, no-store")],
        "private" => vec![("Cache-Control", "private")],
        "max-age" => vec![("Cache-Control", "max-age=1")],
        _ => vec![],
    };
    fields.extend(more);
    if media_type.is_empty() {
        fields.remove(0);
    }
    if word(4) == "chunked" {
        let chunks = format!("{:x}\r\n{}\r\n0\r\n\r\n", body.len(), String::from_utf8_lossy(body));
        let fields: String =
            fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        return format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{fields}\r\n{chunks}")
            .into_bytes();
    }
    response(&format!("{} Said", word(0)), &fields, body)
}

fn proxying(name: &'static str, rules: &str) -> Group {
    Group::server(
        name,
        &format!("{rules} location / {{ proxy_http_version 1.1; proxy_pass http://{{origin}}; }}"),
    )
    .worker(worker)
}

fn asked(name: &'static str, rules: &str) -> Group {
    let mut group = proxying(name, rules);
    for target in [
        "/200|text_html",
        "/200|text_plain",
        "/200|text_plain;charset=utf-8",
        "/200|TEXT_PLAIN",
        "/200|application_json",
        "/200|image_png",
        "/200|",
        "/200|text_plain|19",
        "/200|text_plain|20",
        "/200|text_plain|99",
        "/200|text_plain|100",
        "/200|text_plain|0",
        "/200|text_plain||strong",
        "/200|text_plain||weak",
        "/200|text_plain||odd",
        "/200|text_plain||coded",
        "/200|text_plain||vary",
        "/200|text_plain|||chunked",
        "/200|text_html|10||chunked",
        "/404|text_html",
        "/403|text_html",
        "/500|text_html",
        "/201|text_html",
    ] {
        group = group.get_with(target, &["Accept-Encoding: gzip"]);
    }
    group
        .get("/200|text_html")
        .ask("HEAD", "a.example", "/200|text_html", &["Accept-Encoding: gzip"], "")
        .ask("POST", "a.example", "/200|text_html", &["Accept-Encoding: gzip"], "x")
        .raw("GET /200|text_html HTTP/1.0\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n")
}

fn accepting() -> Group {
    let mut group =
        proxying("gzip: accepted", "gzip on; gzip_vary on; gzip_disable 'MSIE [4-6]' legacy;");
    for line in [
        "gzip",
        "GZIP",
        "deflate, gzip",
        "gzip;q=0",
        "gzip;q=0.0",
        "gzip;q=0.001",
        "gzip; q=1",
        "gzip ;q=0.5",
        "*",
        "*;q=1",
        "identity",
        "",
        "x-gzip",
        "gzipx",
        "deflate;q=1, gzip;q=0, br",
        "br",
        "gzip,deflate",
        "gzip;q=1.5",
    ] {
        group = group.get_with("/200|text_html", &[&format!("Accept-Encoding: {line}")]);
    }
    group.get("/200|text_html")
}

fn proxied(name: &'static str, rules: &str) -> Group {
    let mut group = proxying(name, &format!("gzip on; {rules}"));
    for more in [
        "", "strong", "weak", "expired", "fresh", "never", "no-cache", "no-store", "private",
        "max-age",
    ] {
        let target = format!("/200|text_html||{more}");
        group = group
            .get_with(&target, &["Accept-Encoding: gzip", "Via: 1.1 a"])
            .get_with(&target, &["Accept-Encoding: gzip", "Via: 1.1 a", "Authorization: x"])
            .get_with(&target, &["Accept-Encoding: gzip"]);
    }
    group
}

fn files() -> Group {
    let text = "text ".repeat(40_000);
    Group::server("gzip: files", "gzip on; gzip_vary on; gzip_types text/plain; root {dir}; location /st/ { gzip_static on; alias {dir}/; }")
        .file("large.html", &text)
        .file("small.html", "x")
        .file("large.html.gz", packed(text.as_bytes()))
        .get_with("/large.html", &["Accept-Encoding: gzip"])
        .get_with("/large.html", &["Accept-Encoding: gzip", "Range: bytes=0-9"])
        .get_with("/large.html", &["Accept-Encoding: gzip", "If-None-Match: *"])
        .get_with("/large.html", &["Range: bytes=0-9"])
        .get_with("/small.html", &["Accept-Encoding: gzip"])
        .get_with("/none.html", &["Accept-Encoding: gzip"])
        .get_with("/st/large.html", &["Accept-Encoding: gzip"])
        .get_with("/st/large.html", &["Accept-Encoding: br"])
        .get("/large.html")
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory takes it")
}

fn in_gzip(request: &Request) -> Vec<u8> {
    let fields = [("Content-Encoding", "gzip"), ("Content-Type", "text/plain"), ("ETag", "\"a\"")];
    match &request.target[..] {
        "/two" => response("200 OK", &fields, &[packed(b"one"), packed(b"two")].concat()),
        "/large" => response("200 OK", &fields, &packed("text ".repeat(40_000).as_bytes())),
        "/other" => response("200 OK", &[("Content-Encoding", "x")], b"abc"),
        "/none" => response("200 OK", &[], b"abc"),
        _ => response("200 OK", &fields, &packed(b"one")),
    }
}

fn unpacking() -> Group {
    let group = Group::server("gunzip", "gunzip on; gzip_vary on; location / { proxy_http_version 1.1; proxy_pass http://{origin}; }")
        .worker(in_gzip);
    ["/", "/two", "/large", "/other", "/none"].iter().fold(group, |group, target| {
        group
            .get(target)
            .get_with(target, &["Accept-Encoding: gzip"])
            .get_with(target, &["Accept-Encoding: gzip;q=0"])
    })
}
