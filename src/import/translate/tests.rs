//! Files of nginx's, and what becomes of them.

use std::collections::BTreeMap;

use super::{Folders, Matter, Translation, translate};
use crate::import::nginx;

fn read(http: &str) -> Translation {
    read_file(&format!("events {{}}\nhttp {{\n{http}\n}}\n"))
}

fn read_file(text: &str) -> Translation {
    let files = BTreeMap::from([("/etc/nginx/nginx.conf".to_owned(), text.as_bytes().to_vec())]);
    let tree = nginx(&files, "/etc/nginx/nginx.conf", "");
    let tree = tree.unwrap_or_else(|mistake| panic!("{mistake}"));
    translate(&tree, &Folders { prefix: "/etc/nginx/", conf: "/etc/nginx/", as_nginx: false })
}

/// The translation without the line that names the file, and what was not taken.
#[track_caller]
fn check(http: &str, expected: &str, left: &[&str]) {
    let translation = read(http);
    let (_, yaml) = translation.yaml.split_once("\n\n").expect("a first line");
    assert_eq!(yaml, expected, "{http}");
    let notes = translation.notes.iter().filter(|note| note.matter == Matter::Left);
    let found: Vec<&str> = notes.map(|note| note.directive.as_str()).collect();
    assert_eq!(found, left, "{http}");
}

#[test]
fn what_tunes_sockets_of_nginx_is_noted() {
    let translation =
        read("server { listen 80 reuseport deferred fastopen=3 multipath backlog=9; return 204; }");
    let said: Vec<(Matter, &str)> = translation
        .notes
        .iter()
        .filter(|note| note.directive == "listen")
        .map(|note| (note.matter, note.text.split(':').next().unwrap_or_default()))
        .collect();
    let names = ["`reuseport`", "`deferred`", "`fastopen`", "`multipath`"];
    assert_eq!(said, names.map(|name| (Matter::Meaningless, name)));
}

#[test]
fn a_reverse_proxy_is_translated_whole() {
    check(
        "upstream app {\n  server 127.0.0.1:7001;\n  server 127.0.0.1:7002 weight=2;\n  keepalive 8;\n}\n\
         server {\n  listen 443 ssl http2 default_server;\n  server_name a.example *.b.example;\n  \
         ssl_certificate tls/a.pem;\n  ssl_certificate_key /k/a.key;\n  client_max_body_size 20m;\n  \
         location / {\n    proxy_pass http://app;\n    proxy_read_timeout 90;\n  }\n  \
         location = /down { return 503; }\n}",
        "listeners:
  - address: \"0.0.0.0:443\"
    tls: {  }
    protocols: [h2, http/1.1]
# As nginx; without this line cookies get Secure, HttpOnly and SameSite.
cookies:
  enforce: false
upstreams:
  app:
    endpoints:
      - address: \"127.0.0.1:7001\"
      - address: \"127.0.0.1:7002\"
        weight: 2
    timeouts:
      read: 90s
defaults:
  request_headers:
    Host: \"$proxy_host\"
  forwarded_headers: false
servers:
  # from /etc/nginx/nginx.conf:8
  - listeners: [\"0.0.0.0:443 default_server\"]
    names: [a.example, \"*.b.example\"]
    certificates:
      - chain: /etc/nginx/tls/a.pem
        key: /k/a.key
    body_bytes_max: 20MiB
    routes:
      # from /etc/nginx/nginx.conf:14
      - path: /
        upstream: app
      # from /etc/nginx/nginx.conf:18
      - path: \"= /down\"
        return: \"503\"
",
        &[],
    );
}

#[test]
fn locations_that_ask_for_other_deadlines_get_upstreams_of_their_own() {
    let translation = read(
        "proxy_read_timeout 1m;\nupstream app { server a:1; }\nserver {\n\
         location / { proxy_pass http://app; }\nlocation /slow/ { proxy_pass http://app/x/; \
         proxy_read_timeout 5m; }\nlocation /tls/ { proxy_pass https://b.example:8443; }\nlocation /name/ { proxy_pass \
         https://b.example:8443; proxy_ssl_server_name on; }\n}",
    );
    assert!(translation.yaml.contains("server_name: b.example"), "{}", translation.yaml);
    let left: Vec<_> =
        translation.notes.iter().filter(|note| note.matter == Matter::Left).collect();
    assert!(left.is_empty(), "{left:?}");
    for line in ["  app:\n", "  app_2:\n", "read: 60s", "read: 300s", "uri: /x/", "verify: false"] {
        assert!(translation.yaml.contains(line), "{line}: {}", translation.yaml);
    }
}

#[test]
fn error_pages_keep_their_statuses() {
    let translation = read(
        "error_page 500 502 /50x.html;\nerror_page 404 =200 /e.gif;\nerror_page 403 = @x;\n\
         server { location @x { return 204; } }",
    );
    for line in ["\"500 502\": /50x.html", "\"404\": \"=200 /e.gif\"", "\"403\": \"= @x\""] {
        assert!(translation.yaml.contains(line), "{line}: {}", translation.yaml);
    }
}

#[test]
fn scripts_are_steps_and_a_return_alone_is_a_key() {
    let translation = read(
        "server { listen 1; set $a 1; return 301 https://$host$request_uri; location / { return 200 x; } }\n\
         server { listen 2; location / { set $b '2 3'; rewrite '^/(a b)$' /$1 last; \
         if ($b ~* \"^(x|y) \") { return 403; } \
         if (!-f $request_filename) { set $c 1; proxy_pass http://127.0.0.1:7001; expires 1h; } break; } \
         location /b { return 444; } location /c { set $d ''; return 200 ''; } }",
    );
    for lines in [
        "    rewrite:\n      - set: \"$a 1\"\n      - return: \"301 https://$host$request_uri\"\n    routes:\n",
        "        return: \"200 x\"\n",
        "          - set: \"$b 2 3\"\n          - rewrite: \"\\\"^/(a b)$\\\" /$1 last\"\n",
        "          - if: \"$b ~* \\\"^(x|y) \\\"\"\n            then:\n              - return: \"403\"\n",
        "          - if: \"!-f $request_filename\"\n            then:\n              - set: \"$c 1\"\n            \
         with:\n              upstream: \"127_0_0_1_7001\"\n              expires: \"1h\"\n          - break\n",
        "return: \"444\"",
        "          - set: \"$d \\\"\\\"\"\n          - return: \"200 \\\"\\\"\"\n",
    ] {
        assert!(translation.yaml.contains(lines), "{lines}: {}", translation.yaml);
    }
    assert_eq!(translation.notes, []);
}

#[test]
fn what_is_left_out_is_said_by_line() {
    let translation = read_file(
        "user www;\nevents { worker_connections 9; }\nhttp {\nproxy_cache_path /c keys_zone=a:1m;\n\
         server {\nlocation / {\nproxy_cache a;\nproxy_pass http://$host;\nfastcgi_pass b:1;\n}\n}\n}\n",
    );
    let said: Vec<_> = translation
        .notes
        .iter()
        .map(|note| (note.place.line, note.directive.as_str(), note.matter))
        .collect();
    assert_eq!(
        said,
        [
            (1, "user", Matter::Meaningless),
            (2, "worker_connections", Matter::Meaningless),
            (4, "proxy_cache_path", Matter::Left),
            (7, "proxy_cache", Matter::Left),
            (9, "fastcgi_pass", Matter::Left),
        ]
    );
    assert!(translation.leaves_anything());
}

#[test]
fn fields_for_workers_are_taken_but_for_what_is_set_by_itself() {
    let translation = read(
        "server { proxy_set_header Host $host; proxy_set_header X-A \"\"; proxy_set_header x-a b; \
         proxy_set_header Upgrade $http_upgrade; proxy_set_header Cookie a=b; }",
    );
    let expected = "    request_headers:\n      Host: \"$host\"\n      X-A: \"\"\n    routes:\n      - path: /\n";
    assert!(translation.yaml.contains(expected), "{}", translation.yaml);
    let said = translation.notes.iter().map(|note| (note.matter, note.text.contains("once")));
    let expected = [(Matter::Left, true), (Matter::Different, false), (Matter::Left, false)];
    assert_eq!(said.collect::<Vec<_>>(), expected);
}

/// What guards a place must not be lost: it is closed, whatever level says so.
#[test]
fn a_place_whose_guard_is_not_taken_is_closed() {
    let http = "server { auth_jwt on; location / { proxy_pass http://127.0.0.1:1; } }";
    let translation = read(http);
    assert!(translation.yaml.contains("return: \"403\""), "{}", translation.yaml);
    assert!(!translation.yaml.contains("upstream:"), "{}", translation.yaml);
    assert!(translation.notes.iter().any(|note| note.text.contains("403")), "{http}");
    let limited = read(
        "server { location / { limit_except GET POST { deny all; proxy_pass http://127.0.0.1:2; } \
         proxy_pass http://127.0.0.1:1; } }",
    );
    let expected = "        limit_except:\n          methods: [GET, POST]\n          \
                    access: [\"deny all\"]\n          with:\n            upstream: \"127_0_0_1_2\"\n";
    assert!(limited.yaml.contains(expected), "{}", limited.yaml);
    for open in ["allow all;", "auth_basic off;", "if ($http_x) { return 403; }"] {
        let http = format!("server {{ location / {{ proxy_pass http://127.0.0.1:1; {open} }} }}");
        assert!(read(&http).yaml.contains("upstream:"), "{http}");
    }
}

#[test]
fn grpc_is_spoken_where_grpc_pass_says_so() {
    let translation = read(
        "upstream app { server 127.0.0.1:1; }\nserver { location / { grpc_pass grpc://app; \
         grpc_read_timeout 5m; } location /web { proxy_pass http://app; } }",
    );
    for line in ["  app:\n", "  app_2:\n", "protocol: h2", "read: 300s"] {
        assert!(translation.yaml.contains(line), "{line}: {}", translation.yaml);
    }
    assert!(!translation.leaves_anything(), "{:?}", translation.notes);
}

#[test]
fn names_are_looked_up_by_whom_the_file_says() {
    check(
        "resolver 127.0.0.53 [::1]:5353 valid=30 ipv6=off;\nresolver_timeout 5;\n\
         upstream app {\n  zone app 64k;\n  resolver 10.0.0.2;\n  server app.internal:8080 resolve;\n  \
         server blue.internal service=http resolve weight=2;\n}\n\
         server {\n  listen 127.0.0.1:80;\n  location / { proxy_pass http://app; }\n}",
        "listeners:
  - address: \"127.0.0.1:80\"
# As nginx; without this line cookies get Secure, HttpOnly and SameSite.
cookies:
  enforce: false
upstreams:
  app:
    resolver: [\"10.0.0.2\"]
    endpoints:
      - address: \"app.internal:8080\"
        resolve: true
      - address: blue.internal
        service: http
        resolve: true
        weight: 2
defaults:
  resolver: [\"127.0.0.53\", \"[::1]:5353\", \"valid=30s\", \"ipv6=off\"]
  resolver_timeout: 5s
  request_headers:
    Host: \"$proxy_host\"
  forwarded_headers: false
servers:
  # from /etc/nginx/nginx.conf:11
  - listeners: [\"127.0.0.1:80\"]
    names: [\"\"]
    routes:
      # from /etc/nginx/nginx.conf:13
      - path: /
        upstream: app
",
        &[],
    );
}
