//! Files from disk, beyond what a comparison with nginx shows: sessions that guard them, HTTP/2, files
//! that change while they are sent.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;

use http::Method;
use tempfile::TempDir;

use crate::support::client::Dial;
use crate::support::h2::H2;
use crate::support::http::{Broken, response};
use crate::support::origin::Responder;
use crate::support::proxy::Proxy;
use crate::support::shop::{ALICE, HOST, Shop, browser};
use crate::support::within;

/// More than the buffers of any socket hold.
const LARGE: u64 = 32 * 1024 * 1024;

fn site() -> TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let write = |name: &str, content: &[u8]| {
        fs::write(directory.path().join(name), content).expect("it can be written");
    };
    write("a.txt", b"0123456789");
    let pattern: Vec<u8> = (0..300_000_u32).map(|number| (number / 3) as u8).collect();
    write("middle.bin", &pattern);
    File::create(directory.path().join("large.bin"))
        .and_then(|file| file.set_len(LARGE))
        .expect("it can be written");
    directory
}

fn plain(root: &Path, keys: &str) -> Proxy {
    Proxy::start(&format!(
        "listeners: [{{ address: '127.0.0.1:0' }}]\nstore: memory\nservers:\n- routes:\n  \
         - {{ path: /, root: '{}', {keys} }}\n",
        root.display()
    ))
}

#[tokio::test]
async fn a_file_behind_a_login_is_for_who_has_logged_in() {
    let app = crate::support::apps::App::egg();
    let files = site();
    let root = files.path().display();
    let shop = Shop::at(app.address)
        .route(&format!(
            "{{ path: /private/, alias: '{root}/', session: shop, require: login, denied: redirect /login }}"
        ))
        .route(&format!("{{ path: /public/, alias: '{root}/', session: shop }}"));
    let nodes = [shop.start()];
    let mut alice = browser(&nodes);
    alice.get("/public/a.txt").await.expect(200);
    for target in ["/private/a.txt", "/PRIVATE/a.txt", "/x/../private/a.txt", "/%70rivate/a.txt"] {
        let denied = alice.get(target).await;
        assert!(matches!(denied.status, 302 | 401), "{target}: {}", denied.status);
    }
    alice.post_form("/login", ALICE).await.expect(302);
    let file = alice.get("/private/a.txt").await.expect(200);
    assert_eq!(file.text(), "0123456789");
    assert_eq!(file.field("cache-control").as_deref(), Some("private, no-store"));
    let unchanged = crate::support::browser::Ask::get("/private/a.txt")
        .field("if-none-match", &file.field("etag").expect("it has a tag"));
    assert_eq!(alice.send(unchanged).await.status, 304);
    alice.get("/private/none").await.expect(404);
    assert_eq!(crate::support::shop::whoami(&mut alice).await.as_deref(), Some("alice"));
    alice.post_form("/logout", &[]).await;
    assert!(matches!(alice.get("/private/a.txt").await.status, 302 | 401));
}

#[tokio::test]
async fn files_go_out_over_http2() {
    let files = site();
    let worker = Responder::start(|_| response("200 OK", &[], b"")).await;
    let root = files.path().display();
    let proxy = Shop::at(worker.address).route(&format!("{{ path: /f, alias: '{root}' }}")).start();
    let mut client = H2::connect(&Dial::to(proxy.address()).tls(HOST)).await;
    let middle = fs::read(files.path().join("middle.bin")).expect("it is there");
    let whole = client.get(HOST, "/f/middle.bin", &[]).await;
    assert!(whole.status == 200 && whole.body == middle);
    let part = client.get(HOST, "/f/middle.bin", &[("range", "bytes=1000-250000")]).await;
    assert!(part.status == 206 && part.body == middle[1000..=250_000]);
    let parts = client.get(HOST, "/f/middle.bin", &[("range", "bytes=0-1,200000-299999")]).await;
    let length = parts.fields.get("content-length").map(|length| length.to_str().unwrap());
    assert_eq!(length, Some(&*parts.body.len().to_string()));
    let head = client.request(Method::HEAD, HOST, "/f/middle.bin", &[], b"").await.expect("a head");
    assert_eq!(
        head.fields.get("content-length").map(|value| value.as_bytes()),
        Some(&b"300000"[..])
    );
    assert!(head.body.is_empty());
    let dropped = client.get(HOST, "/f", &[]).await;
    let location = dropped.fields.get("location").map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(location, Some(format!("https://{HOST}:{}/f/", proxy.address().port())));
}

/// What is missing must not go unnoticed (RFC 9112 section 8).
#[tokio::test]
async fn a_file_that_shrinks_while_it_is_sent_does_not_look_whole() {
    let files = site();
    let proxy = plain(files.path(), "");
    let mut client = Dial::to(proxy.address()).connect().await;
    client.send(format!("GET /large.bin HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    let head = client.response_head().await;
    assert_eq!(head.field("content-length"), Some(LARGE.to_string()));
    let file = File::options().write(true).open(files.path().join("large.bin"));
    file.and_then(|file| file.set_len(1000)).expect("it can be cut");
    let mut read = 0;
    let ended = loop {
        match client.bytes().await {
            Ok(bytes) if bytes.is_empty() => break true,
            Ok(bytes) => read += bytes.len() as u64,
            Err(Broken::Closed | Broken::Truncated(_) | Broken::Reset(_)) => break true,
            Err(Broken::Malformed(_)) => break false,
        }
    };
    assert!(ended && read < LARGE, "{read} bytes");
}

#[tokio::test]
async fn a_file_that_grows_is_cut_at_its_announced_length() {
    let files = site();
    let proxy = plain(files.path(), "");
    let mut client = Dial::to(proxy.address()).connect().await;
    client.send(format!("GET /large.bin HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    let head = client.response_head().await;
    assert_eq!(head.field("content-length"), Some(LARGE.to_string()));
    let mut file =
        File::options().append(true).open(files.path().join("large.bin")).expect("a file");
    file.write_all(&[b'x'; 100_000]).expect("it grows");
    let body = client.exactly(LARGE as usize).await.expect("all of it comes");
    assert!(body.iter().all(|byte| *byte == 0), "nothing of what was added");
    // The connection is at the beginning of the next answer.
    client.get(HOST, "/a.txt", &[]).await.expect(200);
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_left() {
    let files = site();
    let proxy = Proxy::start(&format!(
        "listeners: [{{ address: '127.0.0.1:0' }}]\nstore: memory\nlimits: {{ send_timeout: 200ms }}\n\
         servers:\n- routes:\n  - {{ path: /, root: '{}' }}\n",
        files.path().display()
    ));
    let mut client = Dial::to(proxy.address()).connect().await;
    client.send(format!("GET /large.bin HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    client.response_head().await;
    within("the proxy to give up", async {
        // Held open by nobody once it was given up: what was buffered can still be read.
        tokio::time::sleep(std::time::Duration::from_millis(800)).await;
    })
    .await;
    let mut read = 0;
    while let Ok(bytes) = client.bytes().await {
        if bytes.is_empty() {
            break;
        }
        read += bytes.len() as u64;
    }
    assert!(read < LARGE, "{read} bytes");
}

#[tokio::test]
async fn requests_behind_a_file_are_answered_in_their_order() {
    let files = site();
    let proxy = plain(files.path(), "");
    let mut client = Dial::to(proxy.address()).connect().await;
    let get = |target| format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    let post = format!("POST /a.txt HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 3\r\n\r\nabc");
    client.send(get("/middle.bin") + &post + &get("/none") + &get("/a.txt")).await;
    assert_eq!(client.response().await.expect(200).content().len(), 300_000);
    client.response().await.expect(405);
    client.response().await.expect(404);
    assert_eq!(client.response().await.expect(200).text(), "0123456789");
}

/// Nothing waits for a pipe's writer, and no link leads where it should not.
#[tokio::test]
async fn pipes_devices_and_links_are_not_served() {
    let files = site();
    symlink("/dev/zero", files.path().join("zero")).expect("a link");
    symlink("/etc/passwd", files.path().join("passwd")).expect("a link");
    let _socket = std::os::unix::net::UnixListener::bind(files.path().join("socket"));
    let proxy = plain(files.path(), "disable_symlinks: 'on'");
    let followed = plain(files.path(), "");
    for (target, shut, open) in
        [("/zero", 403, 404), ("/passwd", 403, 200), ("/socket", 404, 404), ("/a.txt", 200, 200)]
    {
        for (proxy, expected) in [(&proxy, shut), (&followed, open)] {
            let mut client = Dial::to(proxy.address()).connect().await;
            assert_eq!(client.get(HOST, target, &[]).await.status, expected, "{target}");
        }
    }
}

#[test]
fn mistakes_name_their_place_and_a_remedy() {
    for (keys, expected) in [
        ("root: /srv, alias: /srv/", "servers[0].routes[0].root: stands beside `alias`"),
        (
            "root: /srv, try_files: [$uri]",
            "servers[0].routes[0].try_files: has nothing to look for",
        ),
        ("root: /srv, try_files: [$uri, =abc]", "`=abc` is no status"),
        ("root: /srv, response_headers: { Connection: x }", "is not the configuration's to say"),
        ("upstream: app, cookie_flags: { a: [sticky] }", "`sticky` is no flag of a cookie"),
        ("upstream: app, proxy_redirect: away", "`away` is not understood"),
        ("upstream: app, ignore_headers: [Vari]", "did you mean"),
        ("root: /srv, expires: soon", "`soon` is no time"),
        ("root: /srv, gzip_static: maybe", "`maybe` is no use of compressed files"),
        (
            "root: /srv, types: { html: [a] }",
            "servers[0].routes[0].types.html: `html` is no media type",
        ),
        ("root: /srv, types: { a/b: [.x] }", "`.x` is no end of a name"),
        ("root: /srv, disable_symlinks: on /srv", "write `on from=/srv/www`"),
        ("root: /srv, autoindex_format: yaml", "one of: html, json, jsonp, xml"),
        ("exact: true", "leads nowhere"),
    ] {
        let yaml = format!(
            "listeners: [{{ address: '127.0.0.1:0' }}]\nstore: memory\n\
             upstreams: {{ app: {{ endpoints: [{{ address: '127.0.0.1:1' }}] }} }}\n\
             servers:\n- routes:\n  - {{ path: /, {keys} }}\n"
        );
        let problem = Proxy::try_start(&yaml).map(|_| ()).expect_err(keys);
        assert!(problem.contains(expected), "{keys}: {problem}");
    }
}
