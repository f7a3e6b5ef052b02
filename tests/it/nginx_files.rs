//! Files, compared with a real nginx that serves the same directory: status, fields and body.
//!
//! Pages of errors and redirects are ours; of those, what they say in their fields is compared.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use super::support::client::{Dial, Response};
use super::support::nginx::Nginx;
use super::support::proxy::Proxy;

const HOST: &str = "files.example";
const MODIFIED: u64 = 784_111_777;
const NOW: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

/// A route: its path, where files lie (`root` or `alias`), nginx's directives and our keys.
const ROUTES: &[(&str, &str, &str, &str, &str)] = &[
    ("/", "root", "", "", ""),
    ("/alias/", "alias", "/sub/", "", ""),
    ("/plain", "alias", "/sub", "", ""),
    ("/list/", "root", "", "autoindex on;", "autoindex: true"),
    (
        "/utf8/",
        "alias",
        "/list/",
        "autoindex on; charset utf-8;",
        "autoindex: true, charset: utf-8",
    ),
    (
        "/json/",
        "alias",
        "/list/",
        "autoindex on; autoindex_format json;",
        "autoindex: true, autoindex_format: json",
    ),
    (
        "/jsonp/",
        "alias",
        "/list/",
        "autoindex on; autoindex_format jsonp;",
        "autoindex: true, autoindex_format: jsonp",
    ),
    (
        "/xml/",
        "alias",
        "/list/",
        "autoindex on; autoindex_format xml;",
        "autoindex: true, autoindex_format: xml",
    ),
    (
        "/short/",
        "alias",
        "/list/",
        "autoindex on; autoindex_exact_size off;",
        "autoindex: true, autoindex_exact_size: false",
    ),
    ("/untagged/", "alias", "/", "etag off;", "etag: false"),
    ("/before/", "alias", "/", "if_modified_since before;", "if_modified_since: before"),
    ("/never/", "alias", "/", "if_modified_since off;", "if_modified_since: 'off'"),
    ("/one/", "alias", "/", "max_ranges 1;", "max_ranges: 1"),
    ("/none/", "alias", "/", "max_ranges 0;", "max_ranges: 0"),
    ("/gz/", "alias", "/", "gzip_static on;", "gzip_static: 'on'"),
    ("/gza/", "alias", "/", "gzip_static always;", "gzip_static: always"),
    ("/exp/", "alias", "/", "expires 1h;", "expires: 1h"),
    ("/max/", "alias", "/", "expires max;", "expires: max"),
    ("/epoch/", "alias", "/", "expires epoch;", "expires: epoch"),
    ("/mod/", "alias", "/", "expires modified +1h;", "expires: modified +1h"),
    ("/neg/", "alias", "/", "expires -1;", "expires: '-1'"),
    ("/links/", "alias", "/", "disable_symlinks on;", "disable_symlinks: 'on'"),
    ("/owner/", "alias", "/", "disable_symlinks if_not_owner;", "disable_symlinks: if_not_owner"),
    (
        "/types/",
        "alias",
        "/",
        "types { a/b txt; } default_type c/d;",
        "types: { a/b: txt }, default_type: c/d",
    ),
    (
        "/charset/",
        "alias",
        "/",
        "charset koi8-r; charset_types text/css;",
        "charset: koi8-r, charset_types: [text/html, text/css]",
    ),
    (
        "/index/",
        "alias",
        "/",
        "index none.html b.html index.html;",
        "index: [none.html, b.html, index.html]",
    ),
    ("/relative/", "alias", "/", "absolute_redirect off;", "absolute_redirect: false"),
    ("/portless/", "alias", "/", "port_in_redirect off;", "port_in_redirect: false"),
    ("/absolute/", "alias", "/", "index none.html /a.txt;", "index: [none.html, /a.txt]"),
    ("/circle/", "alias", "/", "index /circle/;", "index: /circle/"),
    ("/errors/", "alias", "/", "error_page 404 /exp/a.txt;", "error_page: { 404: /exp/a.txt }"),
    ("/fine/", "alias", "/", "error_page 404 =200 /dir/;", "error_page: { 404: '=200 /dir/' }"),
    ("/failed/", "alias", "/", "error_page 403 404 /dir/;", "error_page: { 403 404: /dir/ }"),
];

/// A request: method, target, fields.
type Asked = (&'static str, String, Vec<(&'static str, String)>);

fn site(directory: &Path) -> io::Result<()> {
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for (name, content) in [
        ("a.txt", "0123456789"),
        ("a.txt.gz", "not really gzip"),
        ("empty.html", ""),
        ("noend", "noend"),
        (".hidden", "hidden"),
        ("UPPER.HTML", "<p>"),
        ("style.css", "p {}"),
        ("s p%a?c#e;é\".txt", "odd"),
        ("sub/index.html", "sub"),
        ("sub/in.json", "{}"),
        ("dir/index.html", "dir"),
        ("b/b.html", "b"),
        ("bare/x", ""),
        ("o d/x", ""),
        ("list/a <b>&\"':#?%.txt", "abc"),
        ("list/\u{e9}t\u{e9}.html", "abcd"),
        ("list/.hidden", ""),
        ("list/sub/x", ""),
        ("list/z..", ""),
    ] {
        files.push((name.to_owned(), content.into()));
    }
    files.push((format!("list/{}", "n".repeat(60)), b"n".to_vec()));
    files.push((format!("list/{}", "\u{e9}".repeat(55)), b"n".to_vec()));
    files.push((format!("list/{}", "e".repeat(50)), vec![0; 20_000]));
    files.push(("large.bin".to_owned(), (0..200_000_u32).map(|n| (n / 3) as u8).collect()));
    for (name, content) in files {
        let path = directory.join(name);
        fs::create_dir_all(path.parent().unwrap_or(directory))?;
        let mut file = File::create(&path)?;
        file.write_all(&content)?;
        file.set_modified(UNIX_EPOCH + Duration::from_secs(MODIFIED))?;
    }
    symlink("a.txt", directory.join("link.txt"))?;
    symlink("sub", directory.join("linked"))?;
    symlink("nowhere", directory.join("list/broken"))?;
    let pipe = directory.join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status()?;
    assert!(made.success());
    for directory in ["list/sub", "list"] {
        let directory = File::open(pipe.with_file_name(directory))?;
        directory.set_modified(UNIX_EPOCH + Duration::from_secs(MODIFIED))?;
    }
    Ok(())
}

fn requests() -> Vec<Asked> {
    let mut all: Vec<Asked> = Vec::new();
    let mut ask = |method: &'static str, target: &str, fields: &[(&'static str, &str)]| {
        let fields = fields.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        all.push((method, target.to_owned(), fields));
    };
    // Where a path leads, and out of the directory.
    for target in [
        "/",
        "/a.txt",
        "/a.txt?x=1",
        "/a.txt/",
        "/a.txt/x",
        "/none",
        "/none/",
        "/empty.html",
        "/noend",
        "/.hidden",
        "/UPPER.HTML",
        "/style.css",
        "/dir",
        "/dir?x=%20y",
        "/dir/",
        "/dir/?x",
        "/dir//index.html",
        "/bare",
        "/bare/",
        "/o%20d",
        "/o%20d/",
        "/s%20p%25a%3fc%23e;%C3%A9%22.txt",
        "/pipe",
        "/pipe/",
        "/link.txt",
        "/linked",
        "/linked/",
        "/linked/in.json",
        "/large.bin",
        "/./a.txt",
        "/x/../a.txt",
        "/%61.txt",
        "/a%2etxt",
        "/dir/%2e%2e/a.txt",
        "/a.txt%20",
        "/%",
        "/a%00.txt",
        "/..%2f..%2fetc/passwd",
        "/%2e%2e/etc/passwd",
        "/../etc/passwd",
        "/dir/../../etc/passwd",
        "/sub%2fin.json",
        "/alias/in.json",
        "/alias/",
        "/alias",
        "/alias/none",
        "/plain",
        "/plain/",
        "/plain/in.json",
        "/plain../a.txt",
        "/a.txt#x",
    ] {
        ask("GET", target, &[]);
    }
    for method in ["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        for target in [
            "/a.txt",
            "/none",
            "/dir",
            "/dir/",
            "/bare/",
            "/none/",
            "/list/",
            "/large.bin",
            "/pipe",
        ] {
            ask(method, target, &[]);
        }
    }
    // Listings.
    for route in ["/list/", "/utf8/", "/json/", "/jsonp/", "/xml/", "/short/"] {
        ask("GET", route, &[]);
        ask("HEAD", route, &[]);
        ask("GET", &format!("{route}sub/"), &[]);
    }
    for query in ["callback=f", "callback=a.$_1", "callback=", "callback=a(b)", "x=1&callback=f"] {
        ask("GET", &format!("/jsonp/?{query}"), &[]);
    }
    // Conditions.
    let tag = "\"2ebc98a1-a\"";
    let weak = format!("W/{tag}");
    let list = format!("\"x\", {weak} ,\"y\"");
    for route in ["/", "/untagged/", "/before/", "/never/", "/exp/"] {
        let target = format!("{route}a.txt");
        for fields in [
            &[("If-None-Match", tag)][..],
            &[("If-None-Match", &weak)],
            &[("If-None-Match", &list)],
            &[("If-None-Match", "*")],
            &[("If-None-Match", "\"x\"")],
            &[("If-Match", tag)],
            &[("If-Match", &weak)],
            &[("If-Match", "*")],
            &[("If-Match", "\"x\"")],
            &[("If-Modified-Since", NOW)],
            &[("If-Modified-Since", BEFORE)],
            &[("If-Modified-Since", LATER)],
            &[("If-Modified-Since", "Sunday, 06-Nov-94 08:49:37 GMT")],
            &[("If-Modified-Since", "Sun Nov  6 08:49:37 1994")],
            &[("If-Modified-Since", "soon")],
            &[("If-Unmodified-Since", NOW)],
            &[("If-Unmodified-Since", BEFORE)],
            &[("If-Unmodified-Since", LATER)],
            &[("If-Unmodified-Since", "soon")],
            &[("If-None-Match", tag), ("If-Modified-Since", BEFORE)],
            &[("If-None-Match", "\"x\""), ("If-Modified-Since", NOW)],
            &[("If-None-Match", tag), ("If-Modified-Since", NOW)],
            &[("If-Match", tag), ("If-None-Match", tag)],
            &[("If-None-Match", tag), ("Range", "bytes=0-0")],
        ] {
            ask("GET", &target, fields);
        }
    }
    // Ranges.
    for range in [
        "bytes=0-0",
        "bytes=2-4",
        "bytes=5-",
        "bytes=-3",
        "bytes=-99",
        "bytes=5-99",
        "bytes=10-",
        "bytes=10-11",
        "bytes=-0",
        "bytes=4-2",
        "bytes=0-1,4-5",
        "bytes=0-1, 4-5,-1",
        "bytes=0-9,0-9",
        "bytes=20-,1-2",
        "bytes=",
        "bytes=a",
        "bytes=1",
        "bytes=1-2,",
        "BYTES=1-2",
        "items=1-2",
        "bytes= 1 - 2 ",
        "bytes=1-2-3",
        "bytes=18446744073709551615-",
        "bytes=0-18446744073709551615",
        "bytes=0-0,1-1,2-2,3-3,4-4",
    ] {
        for route in ["/", "/one/", "/none/"] {
            ask("GET", &format!("{route}a.txt"), &[("Range", range)]);
        }
        ask("HEAD", "/a.txt", &[("Range", range)]);
        ask("GET", "/empty.html", &[("Range", range)]);
    }
    ask("GET", "/large.bin", &[("Range", "bytes=100-150000")]);
    ask("GET", "/large.bin", &[("Range", "bytes=0-99999,150000-199999,7-7")]);
    ask("GET", "/charset/style.css", &[("Range", "bytes=0-0,2-2")]);
    for condition in [tag, &weak, "\"x\"", NOW, BEFORE, LATER, "soon", ""] {
        for route in ["/", "/untagged/"] {
            let fields = [("Range", "bytes=1-2"), ("If-Range", condition)];
            ask("GET", &format!("{route}a.txt"), &fields);
        }
    }
    // What an answer says beside.
    for coding in ["gzip", "deflate, gzip;q=0.5", "gzip;q=0", "gzip; q=0.0", "identity", "*", ""] {
        for route in ["/gz/", "/gza/"] {
            ask("GET", &format!("{route}a.txt"), &[("Accept-Encoding", coding)]);
        }
    }
    // What stands for an error is no 200.
    for route in ["/errors/", "/fine/", "/failed/"] {
        let target = format!("{route}none");
        ask("HEAD", &target, &[]);
        ask("POST", &target, &[]);
        for field in [("If-None-Match", "*"), ("If-Match", "\"x\""), ("Range", "bytes=1-1")] {
            ask("GET", &target, &[field]);
        }
    }
    ask("GET", "/gz/a.txt", &[("Accept-Encoding", "gzip"), ("Range", "bytes=0-1")]);
    ask("GET", "/gz/a.txt", &[("Accept-Encoding", "gzip"), ("If-None-Match", "*")]);
    ask("GET", "/gz/noend", &[("Accept-Encoding", "gzip")]);
    ask("HEAD", "/gza/a.txt", &[]);
    for route in ["/exp/", "/max/", "/epoch/", "/mod/", "/neg/"] {
        for target in ["a.txt", "dir", "none", "dir/"] {
            ask("GET", &format!("{route}{target}"), &[]);
        }
    }
    for route in ["/links/", "/owner/"] {
        for target in ["a.txt", "link.txt", "linked", "linked/", "linked/in.json", "dir/", "none"] {
            ask("GET", &format!("{route}{target}"), &[]);
        }
    }
    for target in [
        "/types/a.txt",
        "/types/noend",
        "/types/style.css",
        "/charset/style.css",
        "/charset/empty.html",
        "/charset/a.txt",
        "/charset/dir",
        "/index/b/",
        "/index/dir/",
        "/index/bare/",
        "/relative/dir",
        "/relative/o%20d?x",
        "/portless/dir",
        "/absolute/bare/",
        "/absolute/a.txt",
        "/circle/",
        "/errors/none",
        "/fine/none",
        "/failed/none",
        "/failed/bare/",
    ] {
        ask("GET", target, &[]);
    }
    all
}

#[tokio::test]
async fn files_are_answered_as_nginx_answers_them() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let root = directory.path().join("www");
    fs::create_dir(&root).expect("it can be made");
    site(&root).expect("the directory can be written");
    let root = root.display().to_string();
    let locations: String = ROUTES
        .iter()
        .map(|(path, key, below, directives, _)| {
            format!("location {path} {{ {key} {root}{below}; {directives} }}\n")
        })
        .collect();
    let http = "include /etc/nginx/mime.types; default_type application/octet-stream;";
    let nginx = Nginx::serve(http, &locations);
    let routes: String = ROUTES
        .iter()
        .map(|(path, key, below, _, keys)| {
            format!("  - {{ path: {path}, {key}: '{root}{below}', {keys} }}\n")
        })
        .collect();
    let ours = Proxy::start(&format!(
        "listeners: [{{ address: '127.0.0.1:0' }}]\nstore: memory\n\
         servers:\n- routes:\n{routes}"
    ));
    let requests = requests();
    assert!(requests.len() >= 400, "{} requests", requests.len());
    let mut different = Vec::new();
    for asked in requests {
        let theirs = shown(&ask(Dial::to(nginx.address), &asked).await, nginx.address.port());
        let ours = shown(&ask(Dial::to(ours.address()), &asked).await, ours.address().port());
        if theirs != ours {
            let (method, target, fields) = &asked;
            different
                .push(format!("{method} {target} {fields:?}\nnginx:\n{theirs}\nours:\n{ours}"));
        }
    }
    let number = different.len();
    assert!(different.is_empty(), "{number} differ:\n{}", different.join("\n"));
}

async fn ask(dial: Dial, asked: &Asked) -> Response {
    let (method, target, fields) = asked;
    let lines: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let raw = format!("{method} {target} HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n");
    dial.connect().await.exchange(raw).await
}

/// An answer as far as it is compared.
fn shown(response: &Response, port: u16) -> String {
    let status = response.status;
    // Our own pages; files that stand for an error are compared.
    let is_page = status >= 300 && status != 304 && response.field("etag").is_none();
    let is_chunked = response.field("transfer-encoding").is_some();
    let is_listing = is_chunked || response.field("last-modified").is_none();
    let mut lines: Vec<String> = Vec::new();
    for field in &response.fields().0 {
        let name = field.name.to_ascii_lowercase();
        let value = String::from_utf8_lossy(&field.value).into_owned();
        let value = match name.as_str() {
            "server" | "date" | "connection" | "transfer-encoding" => continue,
            "content-type" | "content-length" if is_page => continue,
            // Errors are kept by nobody here.
            "cache-control" if status >= 400 => continue,
            "content-length" if is_listing => continue,
            "expires" => "a date".to_owned(),
            "location" => value.replace(&format!(":{port}"), ":PORT"),
            "content-type" if value.starts_with("multipart") => without_digits(&value),
            _ => value,
        };
        lines.push(format!("{name}: {value}"));
    }
    lines.sort();
    let body = match is_page {
        true => String::new(),
        false if status == 206 => without_digits(&response.text()),
        false => response.text(),
    };
    let body =
        if body.len() > 3000 { format!("{} bytes, {}", body.len(), hash(&body)) } else { body };
    format!("{status}\n{}\n\n{body}", lines.join("\n"))
}

/// Boundaries are chosen anew for each answer.
fn without_digits(text: &str) -> String {
    let mut out = String::new();
    for piece in text.split_inclusive(|c: char| !c.is_ascii_digit()) {
        let digits = piece.trim_end_matches(|c: char| !c.is_ascii_digit());
        out.push_str(if digits.len() == 20 { &piece[20..] } else { piece });
    }
    out
}

fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}
