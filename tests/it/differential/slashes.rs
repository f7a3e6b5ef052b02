//! Doubled slashes, merged and not, and paths of locations with escapes in them.

use super::group::{Group, echo};

pub fn groups() -> Vec<Group> {
    vec![unmerged(), guarded(), written(), unusual(), unusual_and_merged()]
}

const UNMERGED: [&str; 18] = [
    "/",
    "/a",
    "/a/b",
    "//a",
    "/a//b",
    "/a///b",
    "/a//",
    "/a%2F/b",
    "/a/%2fb",
    "/x/a//b?c=//d",
    "/s/one//two",
    "/s//one",
    "/up/a/b",
    "/up//a",
    "/p/a//b",
    "/p//a",
    "/exact//y",
    "/exact/y",
];

const RESOLVED: &str = "Dot segments and doubled slashes are resolved in what is forwarded, too.";

fn unmerged() -> Group {
    let server = "merge_slashes off; root {dir}/root; \
                  location / { return 200 'all $uri'; } \
                  location /a/ { return 200 'a $uri'; } \
                  location = /exact/y { return 200 'exact $uri'; } \
                  location ~ //b { return 200 'doubled $uri'; } \
                  location /up/ { proxy_pass http://{origin}; } \
                  location /p/ { proxy_pass http://{origin}/q/; } \
                  location /s/ { }";
    let group = Group::server("slashes that stay doubled", server)
        .file("root/s/one/two", "two")
        .worker(echo)
        .gets(&UNMERGED);
    ["/a//../b", "/a///../b", "/a/b//..", "/a//b/../c", "//a/../b", "/up/a//../b", "/a/./b//."]
        .iter()
        .fold(group, |group, target| match *target {
            "/up/a//../b" => group.get(target).differs(RESOLVED),
            target => group.get(target),
        })
}

/// A guard holds for what a worker may merge.
fn guarded() -> Group {
    let server =
        "merge_slashes off; location / { return 200 'all $uri'; } location /admin/ { deny all; }";
    Group::server("guards where slashes stay doubled", server)
        .get("/admin/x")
        .get("/x//admin")
        .get("//admin/x")
        .differs("What guards a path guards it with its slashes doubled, too, also with `merge_slashes off`.")
}

fn written() -> Group {
    let server = "location / { return 200 'all $uri'; } location /a%20b { return 200 'escaped $uri'; } \
                  location '/c d' { return 200 'blank $uri'; } location = /e%2f { return 200 'slash $uri'; } \
                  location ~ ^/f%25 { return 200 'pattern $uri'; } location /g%/ { return 200 'percent $uri'; } \
                  location /h%25i/ { proxy_pass http://{origin}/x/; }";
    Group::server("locations with escapes", server).gets(&[
        "/a%20b",
        "/a%2520b",
        "/c%20d",
        "/e/",
        "/e%252f",
        "/f%2525",
        "/f%25",
        "/g%25/x",
        "/h%2525i/x",
        "/h%25i/x",
    ])
}

const UNUSUAL: &str = "location / { return 200 'all $uri'; } location /a//b { return 200 'doubled $uri'; } \
                       location = /c//d { return 200 'exactly $uri'; } location /e?f { return 200 'mark $uri'; } \
                       location /g#h/ { return 200 'hash $uri'; } location /i/../j { return 200 'dots $uri'; } \
                       location /k//l/ { proxy_pass http://{origin}/x/; }";

const UNUSUALLY: [&str; 14] = [
    "/a//b", "/a/b", "/a//bc", "/c//d", "/c/d", "/e?f", "/e%3Ff", "/e%3Ffg", "/g%23h/x", "/g#h/x",
    "/i/../j", "/j", "/k//l/m", "/k/l/m",
];

/// Paths of locations that few or no requests have.
fn unusual() -> Group {
    Group::server("unusual locations", &format!("merge_slashes off; {UNUSUAL}")).gets(&UNUSUALLY)
}

fn unusual_and_merged() -> Group {
    Group::server("unusual locations, slashes merged", UNUSUAL).gets(&UNUSUALLY)
}
