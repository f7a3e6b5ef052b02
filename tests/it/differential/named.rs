//! Workers by names that are looked up while the server runs.

use super::group::Group;

pub fn groups() -> Vec<Group> {
    let asked = [
        "/?h=app.test",
        "/?h=APP.Test",
        "/?h=alias.test",
        "/?h=far.test",
        "/?h=half.test",
        "/?h=half.test",
        "/?h=nobody.test",
        "/?h=none.test",
        "/?h=text.test",
        "/?h=127.0.0.1",
        "/?h=",
        "/?h=a..test",
        "/?h=app.test.",
        "/path/of/a?h=app.test&x=y",
    ];
    vec![
        passing("by name", "resolver {dns} ipv6=off;", "http://$arg_h:{origin_port}").gets(&asked),
        passing("both families", "resolver {dns};", "http://$arg_h:{origin_port}").gets(&asked),
        passing("with a path", "resolver {dns} valid=5s;", "http://$arg_h:{origin_port}/in$uri").gets(&asked),
        passing("without a resolver", "", "http://$arg_h:{origin_port}").gets(&asked),
        Group::new(
            "upstreams come first",
            "resolver {dns}; upstream app.test { server {second}; } server { listen 127.0.0.1:{port}; \
             location / { proxy_pass http://$arg_h; } \
             location /port/ { proxy_pass http://$arg_h:{origin_port}; } }",
        )
        .gets(&["/?h=app.test", "/?h=App.test", "/port/?h=app.test"]),
        Group::server(
            "the nearest resolver",
            "resolver {dns}; location / { proxy_pass http://$arg_h:{origin_port}; } \
             location /dead/ { resolver {closed}; resolver_timeout 200ms; \
             proxy_pass http://$arg_h:{origin_port}; error_page 502 = /sorry; } \
             location = /sorry { return 200 sorry; }",
        )
        .gets(&["/?h=app.test", "/dead/?h=app.test", "/dead/?h=127.0.0.1"]),
        Group::server(
            "what variables say of it",
            "resolver {dns}; add_header X-To $upstream_addr always; add_header X-Host $proxy_host always; \
             location / { proxy_pass http://$arg_h:{origin_port}; }",
        )
        .gets(&["/?h=app.test", "/?h=none.test", "/?h=alias.test"]),
    ]
}

fn passing(name: &'static str, server: &str, to: &str) -> Group {
    Group::server(name, &format!("{server} location / {{ proxy_pass {to}; }}"))
}
