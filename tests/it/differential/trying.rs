//! Which file answers: `try_files`, `index`, and directories that variables name.

use super::group::Group;

const NOWHERE: &str =
    "Variables lead files nowhere else: a `..` in what they make of a path is 404.";

pub fn groups() -> Vec<Group> {
    vec![entries(), fallbacks(), aliases(), patterns(), no_location(), indices(), directories()]
}

fn filled(group: Group) -> Group {
    group
        .file("a.html", "a")
        .file("t.txt", "0123456789")
        .file("dir/index.html", "index of dir")
        .file("dir/b.html", "b in dir")
        .file("dir/with blank.html", "blank")
        .file("empty/.keep", "")
        .file("other/main.html", "other index")
        .file("tenants/one/index.html", "one")
        .file("tenants/one/x.html", "x of one")
        .file("tenants/two/x.html", "x of two")
}

fn entries() -> Group {
    let server = "root {dir}; \
        location / { try_files $uri $uri/ =404; } \
        location /html/ { try_files $uri.html /dir$uri =404; } \
        location /only/ { try_files /a.html =404; } \
        location /directory/ { try_files /dir/ =404; } \
        location /first/ { try_files /none /dir/b.html /a.html =404; } \
        location /slash/ { try_files /a.html/ /dir =404; } \
        location /arg/ { try_files $arg_f =404; } \
        location /index/ { try_files /other/main.html =404; index none; } \
        location /if/ { if ($arg_x) { return 200 x; } if ($arg_y) { set $z y; } try_files /a.html =404; } \
        location = /exact { try_files /t.txt =404; } \
        location /inner/ { try_files /a.html =404; location /inner/none/ { } \
            location ~ \\.txt$ { try_files /t.txt =404; } }";
    filled(Group::server("files that are tried", server))
        .gets(&[
            "/a.html",
            "/a.html/",
            "/dir",
            "/dir/",
            "/dir?x=1",
            "/dir/?x=1",
            "/dir/with%20blank.html",
            "/none",
            "/none/",
            "/empty",
            "/empty/",
            "/",
            "/html/a",
            "/only/x",
            "/only/x?y=z",
            "/directory/x",
            "/first/",
            "/slash/",
            "/arg/?f=/a.html",
            "/arg/?f=/dir",
            "/arg/",
            "/index/x",
            "/exact",
            "/if/x",
            "/if/x?x=1",
            "/if/x?y=1",
            "/inner/x",
            "/inner/none/x",
            "/inner/none/x.txt",
            "/inner/y.txt",
        ])
        .get("/arg/?f=/dir/../a.html")
        .differs(NOWHERE)
        .get_with("/exact", &["Range: bytes=2-4"])
        .get_with("/only/x", &["If-None-Match: *"])
        .ask("HEAD", "a.example", "/only/x", &[], "")
        .ask("POST", "a.example", "/only/x", &[], "body")
        .ask("PUT", "a.example", "/only/x", &[], "body")
        .ask("POST", "a.example", "/none", &[], "body")
}

fn fallbacks() -> Group {
    let server = "root {dir}; \
        location /named { try_files $uri @app; } \
        location @app { proxy_pass http://{origin}; } \
        location /uri { try_files $uri /app?from=$uri; } \
        location /args { try_files $uri /app?$args; } \
        location /query { try_files $uri /app$is_args$args; } \
        location /drop { try_files $uri /app; } \
        location /path { try_files $uri /app$uri?$args; } \
        location /file { try_files $uri /a.html; } \
        location /chain { try_files /none /named/x; } \
        location /s404 { try_files $uri =404; } \
        location /s403 { try_files $uri =403; } \
        location /s204 { try_files $uri =204; } \
        location /s500 { try_files $uri =500; } \
        location /s444 { try_files $uri =444; } \
        location /s302 { try_files $uri =302; } \
        location /page { try_files $uri =404; error_page 404 /app; } \
        location /pages { try_files $uri =404; error_page 404 = /s204; } \
        location /app { proxy_pass http://{origin}; } \
        location /passed { try_files /a.html /none; proxy_pass http://{origin}; } \
        location /replaced/ { try_files /dir/b.html /none; proxy_pass http://{origin}/new/; } \
        location /unnamed { try_files $uri @nobody; } \
        location /circle { try_files /none /circle; } \
        location / { return 200 'else $uri'; }";
    filled(Group::server("what happens without a file", server))
        .gets(&[
            "/named",
            "/named?x=1",
            "/named/%41%20b?c=%20d",
            "/uri/x",
            "/args?x=1&y",
            "/args",
            "/query?x=1",
            "/query",
            "/drop?x=1",
            "/path/a%20b?x=1",
            "/path/a%3Fb",
            "/path/a%23b",
            "/file/x",
            "/chain",
            "/s404",
            "/s403",
            "/s204",
            "/s500",
            "/s444",
            "/s302",
            "/page/x?y",
            "/pages/x",
            "/passed",
            "/passed/a%20b?x",
            "/replaced/x?y=1",
            "/unnamed",
            "/circle",
        ])
        .get("/uri/a%20b?ignored")
        .differs("Blanks in a query that variables have made are escaped.")
        .ask("POST", "a.example", "/named", &[], "body")
        .ask("POST", "a.example", "/drop", &[], "body")
        .ask("PUT", "a.example", "/uri/x", &[], "body")
        .ask("DELETE", "a.example", "/named/x", &[], "")
        .ask("HEAD", "a.example", "/named/x", &[], "")
        .ask("POST", "a.example", "/s404", &[], "body")
}

fn aliases() -> Group {
    let server = "location /al/ { alias {dir}/dir/; try_files $uri $uri/ =404; } \
        location /fall/ { alias {dir}/dir/; try_files $uri /al/b.html; } \
        location /plain/ { alias {dir}/dir/; try_files b.html =404; } \
        location /whole/ { alias {dir}/dir/; try_files /whole/b.html =404; } \
        location /noslash { alias {dir}/dir; try_files $uri $uri/ =404; } \
        location /outer/ { alias {dir}/dir/; location ~ \\.html$ { expires -1; } \
            location /outer/in/ { try_files /none =404; } }";
    filled(Group::server("files that are tried in an alias", server)).ignore(&["expires"]).gets(&[
        "/al/b.html",
        "/al/",
        "/al",
        "/al/none",
        "/al/with%20blank.html",
        "/fall/b.html",
        "/fall/none",
        "/plain/x",
        "/whole/b.html",
        "/noslash/b.html",
        "/noslash",
        "/noslash/",
        "/outer/b.html",
        "/outer/none.html",
        "/outer/",
        "/outer/in/x",
    ])
}

fn patterns() -> Group {
    let server = "root {dir}; \
        location ~ ^/t/ { try_files /t.txt =404; } \
        location ~ \\.none$ { try_files $uri /a.html; } \
        location ~* ^/UP { try_files /dir/b.html =404; } \
        location ^~ /first/ { try_files /dir/b.html =404; } \
        location / { return 200 else; }";
    filled(Group::server("files that are tried where a pattern fits", server)).gets(&[
        "/t/x",
        "/x.none",
        "/x.none?y",
        "/up/x",
        "/first/t.none",
        "/x",
        "/a.html",
    ])
}

/// At the server, for requests that no location has.
fn no_location() -> Group {
    let server = "root {dir}; index index.html main.html; try_files $uri $uri/ /app; \
        location = /app { proxy_pass http://{origin}; } location /own/ { }";
    filled(Group::server("files that are tried without a location", server))
        .gets(&["/a.html", "/dir", "/dir/", "/other/", "/none?x", "/own/x", "/own/", "/app?x", "/"])
}

fn indices() -> Group {
    let server = "root {dir}; index $arg_i main.html /a.html; \
        location /dir/ { index none b.html; } \
        location /other/ { index main.$arg_e; } \
        location /empty/ { index none.html; } \
        location /tenants/one/ { index index.html; }";
    filled(Group::server("names that stand for a directory", server)).gets(&[
        "/dir/",
        "/dir/?x=1",
        "/dir",
        "/other/?e=html",
        "/other/?e=none",
        "/other/",
        "/empty/",
        "/tenants/one/",
        "/tenants/?i=two/x.html",
        "/tenants/?i=/t.txt",
        "/tenants/two/",
        "/none/",
    ])
}

fn directories() -> Group {
    let server = "root {dir}/tenants/$arg_t; index index.html; \
        location /who { return 200 '$document_root|$request_filename|$uri'; } \
        location /alias/ { alias {dir}/$arg_d/; } \
        location /seen/ { alias {dir}/dir/; try_files /b.html =404; } \
        location /name/ { alias {dir}/dir/; location /name/who { return 200 '$document_root|$request_filename'; } } \
        location /real { root {dir}/dir/../dir; return 200 '$realpath_root|$document_root'; } \
        location /tried { try_files /x.html =404; }";
    filled(Group::server("directories that variables name", server))
        .gets(&[
            "/x.html?t=one",
            "/x.html?t=two",
            "/?t=one",
            "/x.html?t=none",
            "/x.html",
            "/who?t=one",
            "/who/a%20b?t=two",
            "/alias/b.html?d=dir",
            "/alias/b.html?d=none",
            "/alias/?d=dir",
            "/name/who",
            "/real",
            "/tried?t=two",
            "/tried?t=none",
        ])
        .get("/x.html?t=../tenants/one")
        .differs(NOWHERE)
}
