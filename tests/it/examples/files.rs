//! Files and pages.

use std::fs;
use std::path::Path;

use super::{get, get_with, start, worker};
use crate::support::http::response;
use crate::support::origin::Responder;
use crate::support::proxy::Proxy;

/// In place of `/srv`.
const SRV: (&str, &str) = ("/srv", "{directory}/srv");

fn write(proxy: &Proxy, files: &[(&str, &str)]) {
    for (name, content) in files {
        let path = proxy.directory().join("srv").join(name);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).expect("it can be made");
        fs::write(path, content).expect("it can be written");
    }
}

#[tokio::test]
async fn static_files() {
    let app = worker().await;
    let proxy = start("static-files", &app, &[SRV]);
    write(
        &proxy,
        &[
            ("app/public/assets/a.js", "plain"),
            ("app/public/assets/a.js.gz", "packed"),
            ("media/a.png", "picture"),
            ("pub/read.me", "read"),
            ("secret", "secret"),
        ],
    );
    assert!(get(&proxy, "/x").await.text().starts_with("worker GET /x"));
    let packed = get_with(&proxy, "/assets/a.js", &[("Accept-Encoding", "gzip")]).await.expect(200);
    assert_eq!(packed.text(), "packed");
    assert_eq!(packed.field("cache-control").as_deref(), Some("max-age=315360000"));
    assert_eq!(get(&proxy, "/assets/a.js").await.expect(200).text(), "plain");
    let picture = get(&proxy, "/media/a.png").await.expect(200);
    assert_eq!(picture.field("content-type").as_deref(), Some("image/png"));
    assert_eq!(picture.field("x-content-type-options").as_deref(), Some("nosniff"));
    let mine = proxy.directory().join("srv/media/mine");
    std::os::unix::fs::symlink(proxy.directory().join("srv/secret"), mine).expect("it can be made");
    get(&proxy, "/media/mine").await.expect(200);
    std::os::unix::fs::symlink("/proc/1/comm", proxy.directory().join("srv/media/theirs"))
        .expect("it can be made");
    assert!(get(&proxy, "/pub/").await.expect(200).text().contains("read.me"));
    get(&proxy, "/media/../../secret").await.expect(400);
    get(&proxy, "/favicon.ico").await.expect(404);
}

#[tokio::test]
async fn single_page_app() {
    let app = worker().await;
    let proxy = start("single-page-app", &app, &[SRV]);
    write(&proxy, &[("app/dist/index.html", "page"), ("app/dist/assets/a.js", "script")]);
    for target in ["/", "/index.html", "/users/17"] {
        let page = get(&proxy, target).await.expect(200);
        assert_eq!(page.text(), "page", "{target}");
        assert_eq!(page.field("cache-control").as_deref(), Some("no-cache"), "{target}");
    }
    let script = get(&proxy, "/assets/a.js").await.expect(200);
    assert!(script.field("cache-control").is_some_and(|value| value.ends_with("immutable")));
    get(&proxy, "/assets/b.js").await.expect(404);
    assert!(get(&proxy, "/api/users").await.text().starts_with("worker GET /users "));
}

#[tokio::test]
async fn error_pages() {
    let app = Responder::start(|_| response("503 Service Unavailable", &[], b"own")).await;
    let proxy = start("error-pages", &app, &[SRV]);
    write(
        &proxy,
        &[
            ("app/errors/sorry.html", "sorry"),
            ("app/errors/404.html", "nothing"),
            ("app/errors/nobody.svg", "nobody"),
        ],
    );
    assert_eq!(get(&proxy, "/").await.expect(503).text(), "own");
    assert_eq!(get(&proxy, "/shop/").await.expect(503).text(), "sorry");
    assert_eq!(get(&proxy, "/avatars/17.svg").await.expect(200).text(), "nobody");
    assert_eq!(get(&proxy, "/sorry.html").await.expect(404).text(), "nothing");
    drop(app);
    assert_eq!(get(&proxy, "/").await.expect(502).text(), "sorry");
}

#[tokio::test]
async fn protected_downloads() {
    let app = Responder::start(|request| match &*request.target {
        "/report" => response(
            "200 OK",
            &[
                ("X-Accel-Redirect", "/protected/report.pdf"),
                ("Content-Disposition", "attachment; filename=q3.pdf"),
            ],
            b"",
        ),
        _ => response("404 Not Found", &[], b""),
    })
    .await;
    let proxy = start("protected-downloads", &app, &[SRV]);
    write(&proxy, &[("reports/report.pdf", "figures")]);
    let report = get(&proxy, "/report").await.expect(200);
    assert_eq!(report.text(), "figures");
    assert_eq!(report.field("content-disposition").as_deref(), Some("attachment; filename=q3.pdf"));
    get(&proxy, "/protected/report.pdf").await.expect(404);
}
