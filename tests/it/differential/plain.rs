//! Proxying as most files have it.

use super::group::Group;

const RESOLVED: &str = "Dot segments and doubled slashes are resolved in what is forwarded, too.";

pub fn groups() -> Vec<Group> {
    vec![
        Group::server("proxied", "location / { proxy_pass http://{origin}; }")
            .gets(&["/", "/a", "/a?b=c", "/a%20b", "/%61", "/a?", "/a;b", "/\u{e9}"])
            .get("//a")
            .differs(RESOLVED)
            .get("/a/../b")
            .differs(RESOLVED)
            .get("/a/./b?x=/../y")
            .differs(RESOLVED)
            .ask("POST", "a.example", "/", &[], "body")
            .ask("POST", "a.example", "/", &[], "")
            .ask("HEAD", "a.example", "/", &[], "")
            .ask("DELETE", "a.example", "/", &[], "")
            .ask("OPTIONS", "a.example", "/", &[], "")
            .ask("GET", "a.example", "http://b.example/x?y", &[], ""),
        Group::server(
            "fields towards a worker",
            "proxy_set_header Host $host; proxy_set_header X-Real-IP $remote_addr; \
             proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Empty ''; \
             location / { proxy_pass http://{origin}; } \
             location /own { proxy_pass http://{origin}; proxy_set_header X-Own $uri$is_args$args; }",
        )
        .gets(&["/", "/own?x=1", "/own%20a"])
        .get_with("/", &["X-Forwarded-For: 1.2.3.4", "X-Real-IP: 9.9.9.9", "X-Empty: here", "Accept: a", "Accept: b"])
        .get_with("/", &["Cookie: a=b", "Cookie: c=d"])
        .differs("Several `Cookie` lines reach a worker as one.")
        .get_with("/", &["TE: trailers"])
        .differs("`TE: trailers` reaches workers, for their trailers reach clients.")
        .get_with("/", &["Upgrade: x", "Proxy: y"]),
        Group::server(
            "answers by itself",
            "location /a { return 200 'text $uri'; } location /b { return 301 /c; } \
             location /d { return 302 https://$host$request_uri; } location /e { return 404; } \
             location /f { return 444; } location /g { return 204; } location /h { return 307 http://x/; } \
             location /i { return 403 'no'; } location / { return 500; }",
        )
        .gets(&["/a", "/b", "/b?x", "/d?x=y", "/e", "/f", "/g", "/h", "/i", "/"])
        .ask("HEAD", "a.example", "/a", &[], "")
        .ask("POST", "a.example", "/a", &[], "xyz"),
    ]
}
