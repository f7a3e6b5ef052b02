//! The configurations that applications ship or document, written anew: each serves its main page, its assets
//! and what else it is known for.

use super::group::Group;
use crate::support::tls::Certificate;

macro_rules! shipped {
    ($name:literal) => {
        application($name, include_str!(concat!("../../nginx/", $name, ".conf")))
    };
}

fn application(name: &'static str, conf: &str) -> Group {
    let certificate = Certificate::for_names(&[&format!("{name}.example")]);
    let conf = conf
        .replace("{https}", "127.0.0.1:{other}")
        .replace("{http}", "127.0.0.1:{port}")
        .replace("{cert}", "{dir}/cert.pem")
        .replace("{key}", "{dir}/key.pem");
    Group::new(name, conf)
        .file("cert.pem", certificate.chain_pem)
        .file("key.pem", certificate.key_pem)
        .file("500.html", "<p>sorry")
        .file("404.html", "<p>not here")
}

trait Asked {
    fn plain(self, target: &str) -> Self;
    fn with(self, target: &str, lines: &[&str]) -> Self;
    fn secure(self, name: &'static str, targets: &[&str]) -> Self;
}

impl Asked for Group {
    /// Over HTTP, for the application's own host.
    fn plain(self, target: &str) -> Self {
        self.with(target, &[])
    }

    fn with(self, target: &str, lines: &[&str]) -> Self {
        let host = format!("{}.example", self.name);
        self.ask("GET", &host, target, lines, "")
    }

    fn secure(self, name: &'static str, targets: &[&str]) -> Self {
        targets
            .iter()
            .fold(self, |group, target| group.ask("GET", name, target, &[], "").over_tls(name))
    }
}

pub fn groups() -> Vec<Group> {
    vec![
        shipped!("mastodon")
            .file("packs/a.js", "pack")
            .file("sw.js", "worker")
            .file("system/a.png", "image")
            .plain("/x?y")
            .plain("/.well-known/acme-challenge/none")
            .secure(
                "mastodon.example",
                &[
                    "/",
                    "/about?x",
                    "/packs/a.js",
                    "/packs/none.js",
                    "/sw.js",
                    "/system/a.png",
                    "/api/v1/streaming/health",
                    "/500.html",
                ],
            ),
        shipped!("discourse")
            .file("public/assets/a.js", "asset")
            .file("public/assets/fonts/a.woff2", "font")
            .file("public/javascripts/b.js", "script")
            .plain("/")
            .plain("/t/topic/1?x")
            .plain("/assets/a.js")
            .plain("/assets/none.js")
            .plain("/assets/fonts/a.woff2")
            .plain("/javascripts/b.js")
            .plain("/srv/status")
            .plain("/uploads/short-url/x")
            .plain("/downloads/assets/a.js")
            .plain("/.git/config")
            .ignore(&["x-request-start"]),
        shipped!("gunicorn")
            .file("static/a.css", "style")
            .plain("/")
            .plain("/static/a.css")
            .plain("/static/")
            .plain("/static/none.css")
            .ask("POST", "www.gunicorn.example", "/form", &[], "a=b")
            .ask("GET", "other.example", "/", &[], ""),
        shipped!("unicorn")
            .file("about/index.html", "about")
            .file("page.html", "page")
            .file("a.css", "style")
            .plain("/")
            .plain("/about")
            .plain("/about/")
            .plain("/page")
            .plain("/a.css")
            .plain("/none"),
        shipped!("sentry")
            .file("js-sdk/a.js", "sdk")
            .plain("/")
            .plain("/api/store/?x")
            .plain("/api/12/envelope/")
            .plain("/api/0/relays/x/")
            .plain("/js-sdk/a.js")
            .plain("/_static/a.css")
            .with("/", &["X-Forwarded-For: 1.2.3.4"]),
        shipped!("gitlab").plain("/a?private_token=secret").secure(
            "gitlab.example",
            &["/", "/group/project?private_token=x", "/404.html", "/assets/a.js"],
        ),
        shipped!("netbox").file("static/a.css", "style").plain("/x?y").secure(
            "netbox.example",
            &["/", "/static/a.css", "/static/none", "/api/dcim/?limit=1"],
        ),
        shipped!("chatwoot")
            .file(".well-known/a", "known")
            .plain("/")
            .plain("/.well-known/a")
            .plain("/app/accounts?x=y")
            .with("/cable", &["api_access_token: x"]),
        shipped!("superset")
            .plain("/")
            .plain("/superset/welcome/")
            .plain("/ws")
            .plain("/static/a.js?v=1"),
        shipped!("frappe")
            .file("assets/a.js", "asset")
            .file("site1.example/public/files/a.svg", "svg")
            .file("site1.example/public/page", "page")
            .ask("GET", "site1.example", "/", &[], "")
            .ask("GET", "site1.example", "/about/", &[], "")
            .ask("GET", "site1.example", "/a/index.html?x", &[], "")
            .ask("GET", "site1.example", "/a.html", &[], "")
            .ask("GET", "site1.example", "/assets/a.js", &[], "")
            .ask("GET", "site1.example", "/assets/none", &[], "")
            .ask("GET", "site1.example", "/files/a.svg", &[], "")
            .ask("GET", "site1.example", "/files/none.svg", &[], "")
            .ask("GET", "site1.example", "/page", &[], "")
            .ask("GET", "site1.example", "/protected/x", &[], "")
            .ask("GET", "site1.example", "/socket.io/?x", &[], "")
            .ask("GET", "site1.example", "/502.html", &[], ""),
        shipped!("puma")
            .file("public/assets/a.css", "style")
            .file("public/about/index.html", "about")
            .file("public/500.html", "sorry")
            .plain("/x")
            .secure(
                "puma.example",
                &["/", "/assets/a.css", "/assets/none.css", "/about", "/posts/1?x=y", "/404.html"],
            )
            .ask("TRACK", "puma.example", "/", &[], "")
            .over_tls("puma.example"),
        shipped!("mattermost")
            .plain("/")
            .plain("/api/v4/users/me?x")
            .plain("/static/main.js")
            .plain("/api/v4/websocket"),
        shipped!("peertube")
            .file("client/a.js", "script")
            .file("storage/thumbnails/a.jpg", "image")
            .secure(
                "peertube.example",
                &[
                    "/",
                    "/api/v1/videos/1?x",
                    "/client/a.js",
                    "/client/none.js",
                    "/static/thumbnails/a.jpg",
                    "/static/avatars/none.png",
                    "/socket.io/?x",
                    "/plugins/p/ws/a",
                ],
            ),
        shipped!("dokku")
            .file("errors/404-error.html", "not here")
            .file("errors/400-error.html", "wrong")
            .plain("/")
            .plain("/app?x=y")
            .plain("/404-error.html")
            .ask("POST", "dokku.example", "/large", &["Expect: 100-continue"], "x")
            .ignore(&["x-request-start"]),
        shipped!("dify")
            .plain("/")
            .plain("/console/api/x")
            .plain("/api/a?b")
            .plain("/v1/chat")
            .plain("/e/hook?x=y")
            .plain("/explore"),
        shipped!("lemmy")
            .plain("/")
            .plain("/c/main/")
            .plain("/api/v3/site?x")
            .plain("/nodeinfo/2.0.json")
            .with("/u/a", &["Accept: application/activity+json"])
            .with("/u/a", &["Accept: text/html"])
            .ask("POST", "lemmy.example", "/inbox", &[], "{}"),
        shipped!("overleaf")
            .file("public/stylesheets/a.css", "style")
            .file("output/1f-2a/generated-files/3-b/output.pdf", "pdf")
            .plain("/")
            .plain("/project/1?x")
            .plain("/stylesheets/a.css")
            .plain("/stylesheets/none.css")
            .plain("/project/1f/user/2a/build/3-b/output/output.pdf")
            .plain("/project/1f/user/2a/build/none/output/output.pdf")
            .plain("/socket.io/1/?t=1")
            .plain("/status"),
    ]
}
