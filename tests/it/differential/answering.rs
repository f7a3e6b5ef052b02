//! What answers say: fields that are added, hidden and changed.

use percent_encoding::percent_decode_str;

use super::group::Group;
use crate::support::http::response;
use crate::support::origin::Request;

const EMPTY: &str = "A POST or PUT without a body says so to workers, also where `proxy_method` has made it one: \
                     `Content-Length: 0`.";

pub fn groups() -> Vec<Group> {
    vec![
        added(),
        validators(),
        trailers(),
        freshness(),
        charsets(),
        hidden(),
        redirects(),
        redirect_rules(),
        cookies(),
        cookie_flags(),
        asked(),
        told(),
    ]
}

/// `/status/404?Name: value|Name: value` says what is answered.
fn worker(request: &Request) -> Vec<u8> {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let status = path.rsplit_once("/status/").map_or("200", |(_, status)| status);
    let query = percent_decode_str(query).decode_utf8_lossy().into_owned();
    let fields: Vec<(&str, &str)> =
        query.split('|').filter_map(|field| field.split_once(": ")).collect();
    response(&format!("{status} Said"), &fields, b"hello")
}

/// The same with the query escaped, since it stands in a request line.
fn say(fields: &str) -> String {
    fields.replace(' ', "%20").replace('"', "%22")
}

fn gets(group: Group, path: &str, all: &[&str]) -> Group {
    all.iter().fold(group, |group, fields| group.get(&format!("{path}?{}", say(fields))))
}

fn added() -> Group {
    let server = "add_header X-Server s; add_header X-Twice 1; add_header X-Twice 2 always; \
        add_header X-Empty ''; add_header X-Host $host; \
        location / { proxy_pass http://{origin}; } \
        location /own { add_header X-Own $uri; proxy_pass http://{origin}; } \
        location /own/inner { proxy_pass http://{origin}; } \
        location /files/ { alias {dir}/; } \
        location /text { add_header X-Status $status; return 200 text; } \
        location /gone { add_header X-A a; add_header X-B b always; return 404 text; } \
        location /moved { return 302 /there; } \
        location /nothing { return 204; } \
        location /page { error_page 404 /text; return 404; } \
        location /paged { error_page 404 =200 /text; return 404; } \
        location /if { add_header X-A a; if ($arg_x) { add_header X-B b; } \
            if ($arg_y) { set $z y; } proxy_pass http://{origin}; } \
        location /link { add_header Link '</a>; rel=x'; add_header Link '</b>'; add_header Vary a; \
            add_header Cache-Control no-cache; add_header Cache-Control private; proxy_pass http://{origin}; } \
        location /sent { add_header X-Type $sent_http_content_type; add_header X-Up $upstream_http_x_foo; \
            add_header X-Cookie $upstream_cookie_sid; add_header X-Code $upstream_status; proxy_pass http://{origin}; }";
    let group = Group::server("fields that are added", server).worker(worker).file("a.txt", "a");
    let statuses = [
        "200", "201", "202", "203", "206", "301", "302", "303", "307", "308", "400", "401", "404",
        "409", "410", "429", "500", "502", "503",
    ];
    let group =
        statuses.iter().fold(group, |group, status| group.get(&format!("/status/{status}")));
    let group = gets(
        group,
        "/link",
        &["X-Foo: 1", "Link: </c>|Vary: b", "Cache-Control: max-age=5|Cache-Control: public"],
    );
    let group = gets(
        group,
        "/sent",
        &["Content-Type: text/x", "Set-Cookie: sid=a; Path=/|Set-Cookie: SID=b", "X-Foo: "],
    );
    group
        .gets(&[
            "/own/a%20b",
            "/own/inner/x",
            "/if",
            "/if?x=1",
            "/if?y=1",
            "/if?x=1&y=1",
            "/files/a.txt",
            "/files/none",
            "/files",
            "/text",
            "/gone",
            "/moved",
            "/nothing",
            "/page",
            "/paged",
        ])
        .get_with("/files/a.txt", &["Range: bytes=0-0"])
        .get_with("/files/a.txt", &["If-None-Match: *"])
        .get_with("/files/a.txt", &["Range: bytes=9-"])
        .differs("A 416 gets the fields that are added to its status, and those once.")
        .get(&format!("/sent?{}", say("X-Foo: 1|X-Foo: 2")))
        .differs("Several fields of one name are joined in variables, as nginx does from 1.23 on.")
        .ask("HEAD", "a.example", "/text", &[], "")
        .ask("HEAD", "a.example", "/x", &[], "")
}

fn validators() -> Group {
    let server = "location /tag/ { alias {dir}/; add_header ETag '\"mine\"'; } \
        location /notag/ { alias {dir}/; add_header ETag ''; } \
        location /date/ { alias {dir}/; add_header Last-Modified 'Sun, 06 Nov 1994 08:49:38 GMT'; } \
        location /nodate/ { alias {dir}/; add_header Last-Modified ''; } \
        location /up/ { proxy_pass http://{origin}; add_header ETag ''; add_header Last-Modified ''; }";
    let group = Group::server("validators that are changed", server)
        .worker(worker)
        .file("a.txt", "0123456789")
        .gets(&["/notag/a.txt", "/nodate/a.txt", "/date/a.txt"]);
    gets(group, "/up/", &["ETag: \"a\"|Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT", "X-A: b"])
}

fn trailers() -> Group {
    let server = "add_trailer X-T $status; \
        location / { proxy_pass http://{origin}; proxy_http_version 1.1; } \
        location /always { add_trailer X-A a always; add_trailer X-B ''; return 404 text; } \
        location /text { return 200 text; } \
        location /files/ { alias {dir}/; } \
        location /nothing { return 204; }";
    Group::server("trailers that are added", server)
        .worker(worker)
        .file("a.txt", "0123456789")
        .gets(&["/x", "/status/404", "/always", "/text", "/files/a.txt", "/nothing"])
        .ask("HEAD", "a.example", "/text", &[], "")
        .raw("GET /text HTTP/1.0\r\nHost: a.example\r\n\r\n")
        .raw("GET /x HTTP/1.0\r\nHost: a.example\r\n\r\n")
}

fn freshness() -> Group {
    let http = "map $arg_e $expires { default off; max max; epoch epoch; hour 1h; past -1; zero 0; \
            bad tomorrow; words 'modified 1h'; none ''; } \
        server { listen 127.0.0.1:{port}; \
        location / { expires $expires; proxy_pass http://{origin}; } \
        location /modified { expires modified $arg_m; proxy_pass http://{origin}; } \
        location /max/ { expires max; add_header Cache-Control public; proxy_pass http://{origin}; } \
        location /past/ { expires -1; proxy_pass http://{origin}; } \
        location /off/ { expires off; proxy_pass http://{origin}; } \
        location /text { expires 1h; return 200 text; } \
        location /missing { expires 1h; return 404 text; } }";
    let group = Group::new("freshness", http).worker(worker).ignore(&["expires"]);
    let group = ["max", "epoch", "hour", "past", "zero", "bad", "words", "none", "x", ""]
        .iter()
        .fold(group, |group, name| group.get(&format!("/?e={name}")));
    let group =
        gets(group, "/max/", &["Expires: x|Cache-Control: y", "Cache-Control: a|Cache-Control: b"]);
    let group = gets(group, "/past/", &["Expires: x", "Cache-Control: a|Cache-Control: b", ""]);
    let group = gets(group, "/off/", &["Expires: x|Cache-Control: y"]);
    group.gets(&[
        "/past/status/404",
        "/past/status/301",
        "/modified?m=1h",
        "/modified?m=max",
        "/modified?m=bad",
        "/text",
        "/missing",
    ])
}

fn charsets() -> Group {
    let server = "charset utf-8; \
        location / { proxy_pass http://{origin}; } \
        location /json { charset_types application/json; proxy_pass http://{origin}; } \
        location /off { charset off; proxy_pass http://{origin}; } \
        location /text { return 200 text; } \
        location /html { default_type text/html; return 200 text; } \
        location /moved { return 301 /x; }";
    let types = [
        "Content-Type: text/html",
        "Content-Type: text/html; charset=koi8-r",
        "Content-Type: TEXT/HTML",
        "Content-Type: text/plain",
        "Content-Type: application/json",
        "Content-Type: image/png",
        "X-A: b",
    ];
    let group = Group::server("charsets of answers", server).worker(worker);
    let group = ["/", "/json", "/off"].iter().fold(group, |group, path| gets(group, path, &types));
    group.gets(&["/text", "/html", "/moved"])
}

fn hidden() -> Group {
    let server = "proxy_hide_header X-Level; \
        location / { proxy_pass http://{origin}; } \
        location /own { proxy_hide_header X-Foo; proxy_hide_header x-bar; proxy_pass http://{origin}; } \
        location /passed { proxy_pass_header X-Accel-Expires; proxy_pass_header X-Pad; proxy_pass_header X-Level; \
            proxy_pass http://{origin}; } \
        location /cookies { proxy_hide_header Set-Cookie; proxy_hide_header Cache-Control; \
            proxy_pass http://{origin}; } \
        location /ignored { proxy_ignore_headers X-Accel-Redirect; proxy_pass http://{origin}; } \
        location /shown { proxy_ignore_headers X-Accel-Redirect; proxy_pass_header X-Accel-Redirect; \
            proxy_pass http://{origin}; } \
        location /inside { internal; return 200 inside; }";
    let fields = [
        "X-Level: a|X-Foo: b|X-Bar: c|X-Other: d",
        "X-Pad: a|X-Accel-Expires: 5|X-Accel-Buffering: no|X-Accel-Limit-Rate: 0|X-Accel-Charset: utf-8",
        "X-Accel-Other: a|Server: b",
        "Set-Cookie: a=b|Set-Cookie: c=d|Cache-Control: no-cache",
        "X-Accel-Redirect: /inside",
    ];
    let group = Group::server("fields that are hidden", server).worker(worker);
    ["/", "/own", "/passed", "/cookies", "/ignored", "/shown"]
        .iter()
        .fold(group, |group, path| gets(group, path, &fields))
}

fn redirects() -> Group {
    let server = "location /two/ { proxy_pass http://{origin}/two/; } \
        location /one/ { proxy_pass http://{origin}/other/; } \
        location /off/ { proxy_redirect off; proxy_pass http://{origin}/; } \
        location /plain/ { proxy_pass http://{origin}; } \
        location /relative/ { absolute_redirect off; proxy_pass http://{origin}/; } \
        location ~ ^/re/ { proxy_pass http://{origin}; } \
        location /explicit/ { proxy_pass http://{origin}/e/; proxy_redirect default; proxy_redirect /e/ /f/; }";
    let fields = [
        "Location: http://{origin}/",
        "Location: http://{origin}/other/a?b",
        "Location: http://{origin}/e/x",
        "Location: http://{origin}",
        "Location: http://elsewhere/x",
        "Location: /other/x",
        "Location: /e/x",
        "Location: x",
        "Refresh: 3; url=http://{origin}/other/a",
        "Refresh: 3; URL=http://{origin}/x",
        "Refresh: 3",
        "Refresh: 3; url=/e/x",
    ];
    // The worker's address is known when it runs: it answers with its own.
    let group = Group::server("redirects that lead back here", server).worker(redirecting);
    let paths = ["/two/", "/one/", "/off/", "/plain/", "/relative/", "/re/", "/explicit/"];
    paths.iter().fold(group, |group, path| {
        let all = fields.map(|field| field.replace("{origin}", "ORIGIN"));
        all.iter().fold(group, |group, field| group.get(&format!("{path}?{}", say(field))))
    })
}

/// As [`worker`]; `ORIGIN` is the worker itself, as nginx and ours name it in `Host`.
fn redirecting(request: &Request) -> Vec<u8> {
    let host = request.field("host").unwrap_or_default();
    let said = String::from_utf8_lossy(&worker(request)).replace("ORIGIN", &host);
    said.into_bytes()
}

fn redirect_rules() -> Group {
    let server = "location / { proxy_pass http://{origin}; \
            proxy_redirect http://a/x /; \
            proxy_redirect ~^http://b(:\\d+)?/(.+)$ http://c$1/$2?h=$host; \
            proxy_redirect ~*^HTTP://D/(.*) /d/$1; \
            proxy_redirect http://$host/ /self/; \
            proxy_redirect https:// http://; \
            proxy_redirect / /rel/; } \
        location /none/ { proxy_redirect http://a/ ''; proxy_pass http://{origin}; }";
    let group = Group::server("redirects with rules", server).worker(worker);
    let fields = [
        "Location: http://a/xyz",
        "Location: http://a/x",
        "Location: http://A/x",
        "Location: http://b:80/q",
        "Location: http://b/q/r",
        "Location: http://b/",
        "Location: http://d/q",
        "Location: HTTP://D/",
        "Location: http://a.example/q",
        "Location: https://secure/x",
        "Location: /q",
        "Location: //q",
        "Location: ?q",
        "Location: http://z/",
        "Refresh: 1; url=/q",
        "Refresh: 1;url=http://b/q",
    ];
    let group = gets(group, "/", &fields);
    let group = gets(group, "/status/301", &fields[..4]);
    gets(group, "/none/", &["Location: http://a/x", "Location: http://a/", "Location: /x"])
}

fn cookies() -> Group {
    let server = "location / { proxy_pass http://{origin}; \
            proxy_cookie_domain localhost example.org; \
            proxy_cookie_domain .dotted.org .other.org; \
            proxy_cookie_domain ~\\.?([a-z]+)\\.test$ $1.example; \
            proxy_cookie_domain $host www.$host; \
            proxy_cookie_path /two/ /; \
            proxy_cookie_path ~*^/user/(.+)$ /u/$1; \
            proxy_cookie_path ~^/case/(.+)$ /c/$1; \
            proxy_cookie_path /all '/; Foo'; } \
        location /off/ { proxy_cookie_domain off; proxy_cookie_path off; proxy_pass http://{origin}; }";
    let fields = [
        "Set-Cookie: a=b; Domain=localhost; Path=/two/x",
        "Set-Cookie: a=b; domain=.LOCALHOST; path=/TWO/x",
        "Set-Cookie: a=b; domain=x.test; path=/User/me",
        "Set-Cookie: a=b; domain=xlocalhost;path=two",
        "Set-Cookie: a=b; domain=dotted.org",
        "Set-Cookie: a=b; domain=.dotted.org",
        "Set-Cookie: a=b; domain=a.example; path=/Case/x",
        "Set-Cookie: a=b; domain=.a.example; path=/case/x",
        "Set-Cookie: a=b;Domain=\"localhost\"; Path=",
        "Set-Cookie: a=b; Path=/all; x=y",
        "Set-Cookie: a=b; Domain=localhost; Domain=localhost; Path=/two/; path=/two/",
        "Set-Cookie: a=b ;  Path = /two/ ; Secure ",
        "Set-Cookie: a=b|Set-Cookie: c=d; Path=/two/|Set-Cookie: e=f",
        "Set-Cookie: a=; Path=/two/",
        "Set-Cookie: domain=localhost; path=/x",
    ];
    let group = Group::server("cookies for other domains and paths", server).worker(worker);
    let group = gets(group, "/", &fields);
    gets(group, "/off/", &fields[..2])
}

fn cookie_flags() -> Group {
    let server = "location / { proxy_pass http://{origin}; \
            proxy_cookie_flags one httponly; \
            proxy_cookie_flags ~^sess secure samesite=strict; \
            proxy_cookie_flags two nosecure nohttponly nosamesite; \
            proxy_cookie_flags three httponly secure samesite=lax; } \
        location /off/ { proxy_cookie_flags off; proxy_pass http://{origin}; }";
    let fields = [
        "Set-Cookie: one=1",
        "Set-Cookie: ONE=1",
        "Set-Cookie: one=1; HttpOnly; Secure",
        "Set-Cookie: SESSID=1; samesite=lax; Secure; foo=bar",
        "Set-Cookie: two=1; Secure; HttpOnly; SameSite=Lax; Path=/p; domain=q",
        "Set-Cookie: two",
        "Set-Cookie: three=1; Path=/",
        "Set-Cookie: three=1;Secure;Path=/",
        "Set-Cookie: four=1; Secure",
        "Set-Cookie: xone=1|Set-Cookie: one=2",
    ];
    let group = Group::server("flags of cookies", server).worker(worker);
    let group = gets(group, "/", &fields);
    gets(group, "/off/", &fields[..2])
}

/// How workers are asked.
fn asked() -> Group {
    let server = "location /method { proxy_method POST; proxy_pass http://{origin}; } \
        location /variable { proxy_method $arg_m; proxy_pass http://{origin}; } \
        location /body { proxy_set_body 'own $request_method $arg_x'; proxy_pass http://{origin}; } \
        location /empty { proxy_set_body ''; proxy_pass http://{origin}; } \
        location /bare { proxy_pass_request_headers off; proxy_set_header X-Own 1; proxy_pass http://{origin}; }";
    Group::server("how workers are asked", server)
        .gets(&["/variable?m=DELETE", "/body?x=1", "/bare"])
        .get("/method")
        .differs(EMPTY)
        .get("/variable?m=PUT")
        .differs(EMPTY)
        .get_with("/bare", &["X-Client: 1", "Cookie: a=b", "Accept: text/html"])
        .ask("POST", "a.example", "/body?x=2", &[], "client's")
        .ask("POST", "a.example", "/bare", &["Content-Type: text/x"], "body")
        .ask("PUT", "a.example", "/variable?m=PATCH", &[], "body")
        .ask("POST", "a.example", "/method", &[], "body")
}

/// What variables say of an answer.
fn told() -> Group {
    let server = "location / { proxy_pass http://{origin}; \
            add_header X-Told '$upstream_addr $upstream_status $upstream_response_length $proxy_host $proxy_port'; } \
        location /twice { proxy_pass http://{origin}; proxy_intercept_errors on; error_page 404 /again; } \
        location /again { proxy_pass http://{second}; add_header X-Told '$upstream_addr $upstream_status' always; } \
        location /text { add_header X-Told '[$upstream_addr] [$upstream_status] [$upstream_http_x]'; return 200 x; } \
        location /sent { return 200 x; add_header X-Told '$sent_http_content_type $sent_http_content_length $status'; }";
    Group::server("what variables say of answers", server).worker(worker).gets(&[
        "/status/200",
        "/status/404",
        "/twice",
        "/twice/status/404",
        "/text",
        "/sent",
    ])
}
