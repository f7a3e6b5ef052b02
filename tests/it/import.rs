//! nginx's configuration in our place: `cloakroom import`.

use crate::support::client::Dial;
use crate::support::http::response;
use crate::support::loopback;
use crate::support::origin::Responder;
use crate::support::proxy::Binary;

/// A plain reverse proxy with files beside it.
fn conf(app: &Responder) -> String {
    format!(
        "worker_processes 1;\nevents {{ worker_connections 64; }}\nhttp {{\n  \
         upstream app {{ server {}; keepalive 4; }}\n  server {{\n    listen 127.0.0.1:{{port}};\n    \
         server_name a.example;\n    proxy_set_header X-Asked $host$uri;\n    client_max_body_size 8;\n    \
         error_page 413 /large.html;\n    \
         location / {{ proxy_pass http://app; proxy_read_timeout 30; }}\n    \
         location /api/ {{ proxy_pass http://app/v2/; }}\n    \
         location /files/ {{ root {{directory}}; expires 1h; }}\n    \
         location = /gone {{ return 301 https://$host/; }}\n    \
         location /large.html {{ root {{directory}}; internal; }}\n  }}\n}}\n",
        app.address
    )
}

async fn app() -> Responder {
    Responder::start(|request| response("200 OK", &[], request.target.as_bytes())).await
}

#[tokio::test]
async fn a_file_of_nginx_s_is_served_at_once() {
    let app = app().await;
    let binary = Binary::serve(&conf(&app), &["import", "--run", "--strict"]);
    std::fs::create_dir(binary.directory().join("files")).expect("a folder");
    std::fs::write(binary.directory().join("files/a.txt"), "hello").expect("a file");
    std::fs::write(binary.directory().join("large.html"), "too large").expect("a file");
    let mut client = Dial::to(loopback(binary.port)).connect().await;
    let proxied = client.get("a.example", "/x?y", &[]).await.expect(200);
    assert_eq!(proxied.text(), "/x?y");
    assert_eq!(app.last().field("x-asked").as_deref(), Some("a.example/x"));
    let replaced = client.get("a.example", "/api/a%20b?c", &[]).await.expect(200);
    assert_eq!(replaced.text(), "/v2/a%20b?c");
    let file = client.get("a.example", "/files/a.txt", &[]).await.expect(200);
    assert_eq!(file.text(), "hello");
    assert_eq!(file.field("cache-control").as_deref(), Some("max-age=3600"));
    let gone = client.get("a.example", "/gone", &[]).await.expect(301);
    assert_eq!(gone.field("location").as_deref(), Some("https://a.example/"));
    client.get("a.example", "/large.html", &[]).await.expect(404);
    let post = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 9\r\n\r\n123456789";
    let large = client.exchange(post).await.expect(413);
    assert_eq!(large.text(), "too large");
    assert_eq!(large.set_cookies(), Vec::<String>::new());
    let kept: Vec<_> = std::fs::read_dir(binary.directory()).expect("a folder").collect();
    assert_eq!(kept.len(), 3, "the file itself and ours: {kept:?}");
}

#[tokio::test]
async fn a_translation_is_written_with_what_it_leaves_out() {
    let directory = tempfile::tempdir().expect("a folder");
    let file = directory.path().join("nginx.conf");
    let out = directory.path().join("cloakroom.yaml");
    let conf = "events {}\nhttp {\nserver {\nlisten 127.0.0.1:8080;\nlocation / {\n\
                proxy_pass http://127.0.0.1:7001;\nproxy_cache x;\n}\n}\nproxy_cache_path /c keys_zone=x:1m;\n}\n";
    std::fs::write(&file, conf).expect("a file");
    let (file, out) = (file.display().to_string(), out.display().to_string());
    let said = Binary::run(&["import", &file, "-o", &out]);
    let errors = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.status.success(), "{errors}");
    let expected = format!("{file}:7: \"proxy_cache\" is not taken: there is no cache here");
    assert!(errors.contains(&expected), "{errors}");
    let checked = Binary::run(&["check", "-c", &out]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let strict = Binary::run(&["import", "--strict", &file]);
    assert_eq!(strict.status.code(), Some(1));
}

/// A policy is proposed, and never in force.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_s_cookies_are_asked_for_a_policy() {
    let cookies = [
        ("Set-Cookie", "_shop_session=a8d1cbd4208562c4f3ba571f583d0895; path=/; HttpOnly"),
        ("Set-Cookie", "csrftoken=0123456789abcdef; path=/"),
    ];
    let app = Responder::start(move |_| response("200 OK", &cookies, b"page")).await;
    let directory = tempfile::tempdir().expect("a folder");
    let file = directory.path().join("nginx.conf");
    let out = directory.path().join("cloakroom.yaml");
    let conf = format!(
        "events {{}}\nhttp {{ server {{ listen 127.0.0.1:8080; location / {{ proxy_pass http://{}; }} }} }}\n",
        app.address
    );
    std::fs::write(&file, conf).expect("a file");
    let (file, out) = (file.display().to_string(), out.display().to_string());
    let url = format!("http://{}/login?a", app.address);
    let said = Binary::run(&["import", &file, "-o", &out, "--probe", &url]);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    assert_eq!(app.last().target, "/login?a");
    let yaml = std::fs::read_to_string(&out).expect("it is written");
    assert!(yaml.contains("\n#    app_cookies: [\"_shop_session\"]\n"), "{yaml}");
    assert!(yaml.contains("by their looks: csrftoken."), "{yaml}");
    assert!(!yaml.lines().any(|line| line.starts_with("sessions")), "{yaml}");
    let checked = Binary::run(&["check", "-c", &out]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let nobody = Binary::run(&["import", &file, "--probe", "https://127.0.0.1/"]);
    assert_eq!(nobody.status.code(), Some(1));
}

#[tokio::test]
async fn a_mistake_is_told_as_nginx_tells_it() {
    let directory = tempfile::tempdir().expect("a folder");
    let file = directory.path().join("nginx.conf");
    std::fs::write(&file, "events {}\nhttp {\nservre {}\n}\n").expect("a file");
    let file = file.display().to_string();
    let said = Binary::run(&["import", &file]);
    assert_eq!(said.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(
        errors.contains(&format!("[emerg] unknown directive \"servre\" in {file}:3")),
        "{errors}"
    );
}
