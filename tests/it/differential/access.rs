//! Who is let in: addresses, passwords, others who are asked; and how many (nginx 55, 57 to 62).

use super::group::{Group, Worker};
use crate::support::http::response;
use crate::support::origin::Request;

pub fn groups() -> Vec<Group> {
    vec![
        addresses(),
        inherited_rules(),
        methods(),
        error_pages(),
        passwords(),
        realms(),
        satisfying(),
        asking_others(),
        answers_of_others(),
        others_and_redirects(),
        rates(),
        dry_rates(),
        connections(),
        real_ips("X-Real-IP", false),
        real_ips("X-Forwarded-For", false),
        real_ips("X-Forwarded-For", true),
        real_ips_of_places(),
        referrers(),
        links(),
        scripts(),
        slow_answers(),
        internal(),
    ]
}

/// What later versions of nginx do as well.
const SEVERAL: &str = "Of fields that stand several times all count in variables, and all challenges of a \
                       401 are passed on, as from nginx 1.23 on";

/// Everything is told who asks by `X-Real-IP`.
const TOLD: &str = "set_real_ip_from 127.0.0.1; root {dir}; default_type text/plain;";

fn from(group: Group, target: &str, address: &str) -> Group {
    group.get_with(target, &[&format!("X-Real-IP: {address}")])
}

fn addresses() -> Group {
    let group = Group::server(
        "allow and deny",
        &format!(
            "{TOLD} \
             location /first/ {{ deny 10.1.0.0/16; allow 10.0.0.0/8; allow 2001:db8::/32; deny all; }} \
             location /open/ {{ deny 10.0.0.1; }} \
             location /all/ {{ deny all; allow 10.0.0.1; }} \
             location /four/ {{ deny 0.0.0.0/0; }} \
             location /six/ {{ deny ::/0; }} \
             location /odd/ {{ allow 10.0.0.77/24; deny all; }} \
             location /unix/ {{ allow unix:; deny all; }} \
             location /returns/ {{ deny all; return 200 in; }} \
             location /proxied/ {{ deny 10.0.0.0/8; proxy_pass http://{{origin}}; }}"
        ),
    );
    let group =
        ["first", "open", "all", "four", "six", "odd", "unix"].iter().fold(group, |group, name| {
            group.file(
                match *name {
                    "first" => "first/f",
                    "open" => "open/f",
                    "all" => "all/f",
                    "four" => "four/f",
                    "six" => "six/f",
                    "odd" => "odd/f",
                    _ => "unix/f",
                },
                "a file",
            )
        });
    let addresses =
        ["10.0.0.1", "10.1.2.3", "10.2.2.3", "192.0.2.1", "2001:db8::1", "2001:db9::1", "::1"];
    let mut group = group;
    for place in ["/first/f", "/open/f", "/all/f", "/four/f", "/six/f", "/odd/f"] {
        for address in addresses {
            group = from(group, place, address);
        }
    }
    group = from(group, "/odd/f", "10.0.1.1");
    group = from(group, "/first/f", "::ffff:10.2.2.3");
    group = from(group, "/first/missing", "10.1.2.3");
    group = from(group, "/first/missing", "10.2.2.3");
    group = from(group, "/first", "10.1.2.3").differs(
        "What guards a path with a slash at its end guards the path without it, which nginx redirects \
         whoever asks",
    );
    group = from(group, "/proxied/x", "10.1.2.3");
    group = from(group, "/proxied/x", "192.0.2.1");
    group.gets(&["/unix/f", "/returns/x", "/all/../open/f", "/open/../all/f", "/%61ll/f"])
}

fn inherited_rules() -> Group {
    Group::new(
        "allow and deny are inherited whole",
        "deny all; server { listen 127.0.0.1:{port}; root {dir}; default_type text/plain; \
         location /none/ { } location /own/ { allow 10.0.0.1; } location /open/ { allow all; } \
         location /nested/ { allow all; location /nested/in/ { } location /nested/shut/ { deny 127.0.0.1; } } }",
    )
    .file("none/f", "x")
    .file("own/f", "x")
    .file("open/f", "x")
    .file("nested/in/f", "x")
    .file("nested/shut/f", "x")
    .gets(&["/none/f", "/own/f", "/open/f", "/nested/in/f", "/nested/shut/f", "/", "/nested/shut/"])
}

fn methods() -> Group {
    let mut group = Group::server(
        "limit_except",
        "root {dir}; default_type text/plain; \
         location /read/ { limit_except GET { deny all; } proxy_pass http://{origin}; } \
         location /write/ { limit_except POST PUT { allow 10.0.0.1; deny all; } proxy_pass http://{origin}; } \
         location /open/ { deny all; limit_except GET { allow all; } proxy_pass http://{origin}; } \
         location /basic/ { limit_except GET HEAD { auth_basic writers; auth_basic_user_file {dir}/users; } \
           proxy_pass http://{origin}; }",
    )
    .file("users", "ann:{PLAIN}secret\n");
    for place in ["/read/x", "/write/x", "/open/x", "/basic/x"] {
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "BREW"] {
            // A page that is not sent has each one's own length.
            if method == "HEAD" && matches!(place, "/write/x" | "/open/x") {
                continue;
            }
            let body = if matches!(method, "POST" | "PUT" | "BREW") { "body" } else { "" };
            group = group.ask(method, "a.example", place, &[], body);
        }
    }
    let ann = "Authorization: Basic YW5uOnNlY3JldA==";
    group.ask("POST", "a.example", "/basic/x", &[ann], "body")
}

fn error_pages() -> Group {
    Group::server(
        "error pages of who is not let in",
        "root {dir}; default_type text/plain; \
         location /page/ { deny all; error_page 403 /no.html; } \
         location /shut/ { deny all; error_page 403 /shut/no.html; } \
         location /named/ { deny all; error_page 403 = @named; } \
         location @named { return 200 'named $uri'; } \
         location /other/ { deny all; error_page 403 =404 /no.html; } \
         location /away/ { deny all; error_page 403 http://b.example/; } \
         location /asks/ { auth_basic r; auth_basic_user_file {dir}/users; error_page 401 /no.html; } \
         location /asks200/ { auth_basic r; auth_basic_user_file {dir}/users; error_page 401 =200 /no.html; } \
         location /asksnamed/ { auth_basic r; auth_basic_user_file {dir}/users; error_page 401 = @proxied; } \
         location @proxied { proxy_pass http://{origin}; } \
         location = /no.html { }",
    )
    .file("no.html", "no")
    .file("users", "")
    .gets(&[
        "/page/x", "/shut/x", "/shut/no.html", "/named/x?y", "/other/x", "/away/x", "/asks/x", "/asks200/x",
        "/asksnamed/x?y",
    ])
    .ask("POST", "a.example", "/page/x", &[], "body")
    .ask("POST", "a.example", "/asksnamed/x", &[], "body")
    .ask("HEAD", "a.example", "/page/x", &[], "")
}

/// Made with `openssl passwd`, crypt(3) and the like; the password is `secret` for each.
const USERS: &str = "# users\n\
    plain:{PLAIN}secret\n\
    sha:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n\
    ssha:{SSHA}gVK8WC9YyFT1gMsQHTGCgT3sSv5zYWx0\n\
    sshashort:{SSHA}AAAA\n\
    md5:$1$saltsalt$9xy1btjgzLYfb7hivXtC//\n\
    apr1:$apr1$saltsalt$LrttParrLPdxvgutaSXWJ0\n\
    sha256:$5$saltsalt$0IyaXrmV7.sGNS6tirgqHLqX/G.FBvgkYA.lpPdS5sA\n\
    sha512:$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1\n\
    rounds:$6$rounds=2000$saltsaltsaltsalt$9ZJMy05P0Bms4.sSwYHXsid/OgPwwislaa4O7oY2VNWCWXmvjINFzaO7PtsJ5Qvh7ZyH2DHjpLajMBS.0S0Cu1\n\
    bcrypt:$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\n\
    des:abNANd1rDfiNc\n\
    broken1:$1$\nbroken6:$6$\nbrokenapr:$apr1$\nnothing:\nlocked:!\n\
    more:{PLAIN}secret:Somebody:else\n\
    twice:{PLAIN}other\ntwice:{PLAIN}secret\n\
    windows:{PLAIN}secret\r\n\
    # comment:{PLAIN}secret\n\
    last:{PLAIN}secret";

const NAMES: &[&str] = &[
    "plain",
    "sha",
    "ssha",
    "sshashort",
    "md5",
    "apr1",
    "sha256",
    "sha512",
    "rounds",
    "bcrypt",
    "des",
    "broken1",
    "broken6",
    "brokenapr",
    "nothing",
    "locked",
    "more",
    "twice",
    "windows",
    "comment",
    "# comment",
    "last",
    "nobody",
    "",
    "Plain",
    "plain:",
];

fn passwords() -> Group {
    let mut group = Group::server(
        "auth_basic",
        "root {dir}; default_type text/plain; location /in/ { auth_basic 'the realm'; auth_basic_user_file {dir}/users; } \
         location /proxied/ { auth_basic r; auth_basic_user_file {dir}/users; \
           proxy_set_header X-User '$remote_user'; proxy_pass http://{origin}; }",
    )
    .file("users", USERS)
    .file("in/f", "let in");
    for name in NAMES {
        group = group.get_with("/in/f", &[&basic(&format!("{name}:secret"))]);
    }
    for pair in [
        "plain:wrong",
        "plain:",
        "sha:wrong",
        "des:secreX",
        "des:secret12345",
        "bcrypt:wrong",
        "nothing:",
    ] {
        group = group.get_with("/in/f", &[&basic(pair)]);
    }
    for credentials in [
        "Basic",
        "Basic ",
        "Basic cGxhaW4=",
        "basic cGxhaW46c2VjcmV0",
        "Basic   cGxhaW46c2VjcmV0",
        "Basic\tcGxhaW46c2VjcmV0",
        "Basic cGxhaW46c2VjcmV0=garbage",
        "Basic cGxhaW46 c2VjcmV0",
        "Basic !cGxhaW46c2VjcmV0",
        "Bearer cGxhaW46c2VjcmV0",
        "BasicX cGxhaW46c2VjcmV0",
    ] {
        group = group.get_with("/in/f", &[&format!("Authorization: {credentials}")]);
    }
    group
        .get("/in/f")
        .get("/in/missing")
        .get_with("/in/missing", &[&basic("plain:secret")])
        .get_with("/proxied/x", &[&basic("plain:secret")])
        .get_with("/proxied/x", &[&basic("plain:wrong")])
        .ask("POST", "a.example", "/in/f", &[], "body")
}

fn basic(pair: &str) -> String {
    use base64::Engine;
    let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
    format!("Authorization: Basic {encoded}")
}

fn realms() -> Group {
    let secret = basic("ann:secret");
    Group::server(
        "realms and files of users",
        "root {dir}; default_type text/plain; auth_basic_user_file {dir}/users; auth_basic outer; \
         location /off/ { auth_basic off; } \
         location /inherited/ { } \
         location /empty/ { auth_basic ''; } \
         location /variable/ { auth_basic $arg_realm; } \
         location /quoted/ { auth_basic 'a \"b\" $host'; } \
         location /byhost/ { auth_basic_user_file {dir}/users-$arg_file; } \
         location /missing/ { auth_basic_user_file {dir}/nothing; } \
         location /folder/ { auth_basic_user_file {dir}; } \
         location /returns { return 204; }",
    )
    .file("users", "ann:{PLAIN}secret\n")
    .file("users-b", "bob:{PLAIN}secret\n")
    .file("off/f", "x")
    .file("inherited/f", "x")
    .file("variable/f", "x")
    .file("byhost/f", "x")
    .gets(&[
        "/off/f",
        "/inherited/f",
        "/empty/f",
        "/variable/f?realm=off",
        "/variable/f?realm=on",
        "/variable/f",
        "/quoted/f",
        "/byhost/f?file=b",
        "/byhost/f?file=c",
        "/missing/f",
        "/folder/f",
        "/returns",
        "/nowhere",
    ])
    .get_with("/inherited/f", &[&secret])
    .get_with("/variable/f?realm=x", &[&secret])
    .get_with("/byhost/f?file=b", &[&secret])
    .get_with("/byhost/f?file=b", &[&basic("bob:secret")])
    .get_with("/byhost/f?file=c", &[&basic("bob:secret")])
    .get_with("/missing/f", &[&secret])
    .get_with("/folder/f", &[&secret])
}

fn satisfying() -> Group {
    let secret = basic("ann:secret");
    let mut group = Group::server(
        "satisfy",
        &format!(
            "{TOLD} auth_basic_user_file {{dir}}/users; \
             location /any/ {{ satisfy any; allow 10.0.0.1; deny all; auth_basic r; }} \
             location /all/ {{ satisfy all; allow 10.0.0.1; deny all; auth_basic r; }} \
             location /rules/ {{ satisfy any; allow 10.0.0.1; deny all; }} \
             location /norule/ {{ satisfy any; allow 10.0.0.1; auth_basic r; }} \
             location /asked/ {{ satisfy any; deny all; auth_request /yes; }} \
             location /refused/ {{ satisfy any; deny all; auth_request /no; }} \
             location /both/ {{ satisfy any; auth_basic r; auth_request /no; }} \
             location /broken/ {{ satisfy any; auth_basic r; auth_request /broken; }} \
             location /allow/ {{ satisfy any; allow all; auth_request /broken; }} \
             location /open/ {{ satisfy any; }} \
             location = /yes {{ return 204; }} location = /no {{ return 403; }} \
             location = /broken {{ return 500; }}"
        ),
    )
    .file("users", "ann:{PLAIN}secret\n");
    let files = [
        "any/f",
        "all/f",
        "rules/f",
        "norule/f",
        "asked/f",
        "refused/f",
        "both/f",
        "broken/f",
        "allow/f",
        "open/f",
    ];
    for file in files {
        group = group.file(file, "let in");
        let target = format!("/{file}");
        group = from(group, &target, "10.0.0.1");
        group = from(group, &target, "10.0.0.2");
        group = group.get_with(&target, &["X-Real-IP: 10.0.0.1", &secret]);
        group = group.get_with(&target, &["X-Real-IP: 10.0.0.2", &secret]);
        group = group.get_with(&target, &["X-Real-IP: 10.0.0.2", &basic("ann:wrong")]);
    }
    group
}

/// Answers as its query says: a status, and fields.
fn judge(request: &Request) -> Vec<u8> {
    let status = match request.target.split(['?', '/']).find(|word| word.len() == 3) {
        Some("201") => "201 Created",
        Some("204") => "204 No Content",
        Some("302") => "302 Found",
        Some("304") => "304 Not Modified",
        Some("400") => "400 Bad Request",
        Some("401") => "401 Unauthorized",
        Some("403") => "403 Forbidden",
        Some("404") => "404 Not Found",
        Some("500") => "500 Internal Server Error",
        Some("503") => "503 Service Unavailable",
        _ => "200 OK",
    };
    let fields: &[(&str, &str)] = &[
        ("X-User", "ann"),
        ("X-Twice", "one"),
        ("X-Twice", "two"),
        ("Set-Cookie", "auth=1; Path=/"),
        ("WWW-Authenticate", "Basic realm=\"theirs\""),
        ("WWW-Authenticate", "Bearer"),
    ];
    let has_body = !matches!(&status[..3], "204" | "304");
    response(status, fields, if has_body { b"from the judge" } else { b"" })
}

fn asking_others() -> Group {
    let mut group = Group::server(
        "auth_request",
        "root {dir}; default_type text/plain; \
         location /in/ { auth_request /judge; } \
         location /proxied/ { auth_request /judge; proxy_pass http://{second}; } \
         location /off/ { auth_request /judge; location /off/in/ { auth_request off; } } \
         location /lost/ { auth_request /nowhere; } \
         location /shut/ { auth_request /shut; } location = /shut { deny all; } \
         location /file/ { auth_request /in-a-file; } \
         location /dead/ { auth_request /dead; } location = /dead { proxy_pass http://{closed}; } \
         location /itself/ { auth_request /itself/; } \
         location = /judge { internal; proxy_pass http://{origin}; proxy_pass_request_body off; \
           proxy_set_header Content-Length ''; proxy_set_header X-Original $request_uri; \
           proxy_set_header X-Method $request_method; }",
    )
    .worker(judge as Worker)
    .file("in/f", "let in")
    .file("off/in/f", "let in")
    .file("file/f", "let in")
    .file("lost/f", "x")
    .file("shut/f", "let in")
    .file("dead/f", "x")
    .file("itself/f", "let in")
    .file("in-a-file", "yes")
    .gets(&[
        "/in/f",
        "/in/f?x=y",
        "/in/missing",
        "/in/%66",
        "/off/in/f",
        "/lost/f",
        "/shut/f",
        "/file/f",
        "/dead/f",
        "/itself/f",
        "/judge",
        "/proxied/x?y",
    ])
    .ask("HEAD", "a.example", "/in/f", &[], "")
    .ask("POST", "a.example", "/proxied/x", &[], "a body")
    .ask("PUT", "a.example", "/proxied/x", &["X-Own: here"], "another body");
    group =
        group.get_with("/in/f", &["Cookie: a=b", "Authorization: Basic eDp5", "Range: bytes=0-1"]);
    group
}

fn answers_of_others() -> Group {
    let statuses = ["200", "201", "204", "302", "304", "400", "401", "403", "404", "500", "503"];
    let locations: String = statuses
        .iter()
        .map(|status| {
            format!(
                "location /is{status}/ {{ auth_request /judge/{status}; }} \
                 location /page{status}/ {{ auth_request /judge/{status}; error_page 401 403 500 = @page; }} "
            )
        })
        .collect();
    let mut group = Group::server(
        "answers to auth_request",
        &format!(
            "root {{dir}}; default_type text/plain; {locations} location @page {{ return 200 'page'; }} \
             location /judge/ {{ internal; proxy_pass http://{{origin}}; }}"
        ),
    )
    .worker(judge as Worker);
    for (own, page, status) in [
        ("is200/f", "page200/f", "200"),
        ("is201/f", "page201/f", "201"),
        ("is204/f", "page204/f", "204"),
        ("is302/f", "page302/f", "302"),
        ("is304/f", "page304/f", "304"),
        ("is400/f", "page400/f", "400"),
        ("is401/f", "page401/f", "401"),
        ("is403/f", "page403/f", "403"),
        ("is404/f", "page404/f", "404"),
        ("is500/f", "page500/f", "500"),
        ("is503/f", "page503/f", "503"),
    ] {
        group = group.file(own, "let in").file(page, "let in");
        for target in [format!("/is{status}/f"), format!("/page{status}/f")] {
            group = group.get(&target);
            if status == "401" {
                group = group.differs(SEVERAL);
            }
        }
    }
    group
}

fn others_and_redirects() -> Group {
    Group::server(
        "auth_request_set",
        "root {dir}; default_type text/plain; index index.html; \
         location /set/ { auth_request /judge; auth_request_set $user $upstream_http_x_user; \
           auth_request_set $status_of $upstream_status; auth_request_set $none $upstream_http_x_none; \
           auth_request_set $twice $upstream_http_x_twice; \
           proxy_set_header X-User $user; proxy_set_header X-Status '$status_of'; proxy_set_header X-None '[$none]'; \
           proxy_set_header X-Twice $twice; proxy_pass http://{second}; } \
         location /later/ { auth_request /judge; auth_request_set $user $upstream_http_x_user; deny all; \
           error_page 403 = @later; } \
         location /refused/ { auth_request /judge/403; auth_request_set $user $upstream_http_x_user; \
           error_page 403 = @later; } \
         location @later { return 200 'user [$user]'; } \
         location /unset/ { proxy_set_header X-User '[$user]'; proxy_pass http://{second}; } \
         location /index/ { auth_request /judge; auth_request_set $user $upstream_http_x_user; } \
         location /judge { internal; proxy_pass http://{origin}; }",
    )
    .worker(judge as Worker)
    .file("index/index.html", "index")
    .gets(&["/later/x", "/refused/x", "/unset/x", "/index/"])
    .get("/set/x")
    .differs(SEVERAL)
}

fn rates() -> Group {
    Group::new(
        "limit_req",
        "limit_req_zone $arg_k zone=one:1m rate=1r/m; limit_req_zone $arg_k$arg_l zone=two:1m rate=2r/m; \
         limit_req_zone $http_x zone=three:1m rate=1r/m; limit_req_zone $arg_k zone=four:1m rate=1r/m; \
         server { listen 127.0.0.1:{port}; root {dir}; default_type text/plain; \
         location /plain/ { limit_req zone=one; } \
         location /burst/ { limit_req zone=four burst=2 nodelay; } \
         location /delay/ { limit_req zone=two burst=5 delay=4; limit_req_status 429; } \
         location /several/ { limit_req zone=three burst=3 nodelay; limit_req zone=two burst=1 nodelay; } \
         location /page/ { limit_req zone=one; limit_req_status 429; error_page 429 /no.html; } \
         location /denied/ { limit_req zone=one; deny all; } \
         location /returns/ { limit_req zone=one; return 204; } \
         location /index/ { limit_req zone=three burst=1 nodelay; } }",
    )
    .file("plain/f", "x")
    .file("burst/f", "x")
    .file("delay/f", "x")
    .file("several/f", "x")
    .file("page/f", "x")
    .file("denied/f", "x")
    .file("index/index.html", "index")
    .file("no.html", "no")
    .gets(&[
        "/plain/f?k=a", "/plain/f?k=a", "/plain/f?k=b", "/plain/f", "/plain/f", "/plain/f", "/plain/f?k=",
        "/burst/f?k=c", "/burst/f?k=c", "/burst/f?k=c", "/burst/f?k=c", "/burst/f?k=c", "/burst/missing?k=cc",
        "/burst/f?k=cc", "/burst/f?k=cc", "/burst/f?k=cc",
        "/delay/f?k=d", "/delay/f?k=d", "/delay/f?k=d", "/delay/f?k=d", "/delay/f?k=d",
        "/page/f?k=e", "/page/f?k=e", "/page/f?k=e",
        "/denied/f?k=f", "/denied/f?k=f", "/returns/?k=g", "/returns/?k=g", "/plain/f?k=g", "/plain/f?k=g",
    ])
    .get_with("/several/f?k=h", &["X: h"])
    .get_with("/several/f?k=h", &["X: h"])
    .get_with("/several/f?k=h", &["X: h"])
    .get_with("/several/f?k=i", &["X: h"])
    .get_with("/several/f?k=j", &["X: h"])
    .get_with("/several/f?k=k", &["X: h"])
    .get_with("/index/", &["X: index"])
    .get_with("/index/", &["X: index"])
    .get_with("/index/", &["X: index"])
    .ask("HEAD", "a.example", "/plain/f?k=l", &[], "")
    .ask("POST", "a.example", "/plain/f?k=l", &[], "body")
}

fn dry_rates() -> Group {
    Group::new(
        "limit_req_dry_run and $limit_req_status",
        "limit_req_zone $arg_k zone=dry:1m rate=1r/m; limit_req_zone $arg_k zone=wet:1m rate=1r/m; \
         limit_conn_zone $arg_k zone=conn:1m; \
         server { listen 127.0.0.1:{port}; proxy_set_header X-Rate '[$limit_req_status]'; \
         proxy_set_header X-Connections '[$limit_conn_status]'; \
         location /dry/ { limit_req zone=dry; limit_req_dry_run on; proxy_pass http://{origin}; } \
         location /wait/ { limit_req zone=dry burst=100; limit_req_dry_run on; proxy_pass http://{origin}; } \
         location /wet/ { limit_req zone=wet; proxy_pass http://{origin}; error_page 503 = @busy; } \
         location /conn/ { limit_conn conn 5; proxy_pass http://{origin}; } \
         location /none/ { proxy_pass http://{origin}; } \
         location @busy { proxy_pass http://{origin}; } }",
    )
    .gets(&[
        "/dry/?k=a", "/dry/?k=a", "/dry/?k=a", "/dry/", "/wait/?k=b", "/wait/?k=b", "/wait/?k=b", "/wet/?k=c",
        "/wet/?k=c", "/conn/?k=d", "/conn/?k=d", "/conn/", "/none/?k=e",
    ])
}

fn connections() -> Group {
    Group::new(
        "limit_conn",
        "limit_conn_zone $arg_k zone=one:1m; limit_conn_zone $arg_l zone=two:1m; \
         server { listen 127.0.0.1:{port}; root {dir}; default_type text/plain; \
         location /one/ { limit_conn one 1; } \
         location /two/ { limit_conn one 1; limit_conn two 1; limit_conn_status 429; } \
         location /asked/ { limit_conn one 1; auth_request /one/f; } \
         location /index/ { limit_conn one 1; } }",
    )
    .file("one/f", "x")
    .file("two/f", "x")
    .file("asked/f", "x")
    .file("index/index.html", "x")
    .gets(&["/one/f?k=a", "/one/f?k=a", "/two/f?k=a&l=b", "/two/f?l=b", "/asked/f?k=c", "/index/?k=d", "/index/?k=d"])
    .raw(
        "GET /one/f?k=z HTTP/1.1\r\nHost: a\r\n\r\nGET /one/f?k=z HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    )
}

const TELLING: &[&str] = &[
    "1.2.3.4",
    "1.2.3.4, 5.6.7.8",
    "1.2.3.4,5.6.7.8",
    "1.2.3.4 5.6.7.8",
    "1.2.3.4, 10.0.0.2",
    "9.9.9.9, 1.2.3.4, 10.0.0.2, 10.0.0.3",
    "10.0.0.3, 10.0.0.2",
    "1.2.3.4:99",
    "1.2.3.4:0",
    "1.2.3.4:65536",
    "[2001:db8::1]:99",
    "[2001:db8::1]",
    "2001:db8::1",
    "2001:DB8:0:0:0:0:0:1",
    "::ffff:1.2.3.4",
    "unknown",
    "x, 10.0.0.2",
    "1.2.3.4, x",
    "",
    ",",
    " , 1.2.3.4 , ",
    "1.2.3",
    "1.2.3.256",
    "127.0.0.1",
    "unix:",
    "localhost",
];

fn real_ips(header: &'static str, recursive: bool) -> Group {
    let name = match (header, recursive) {
        ("X-Real-IP", _) => "real_ip_header X-Real-IP",
        (_, false) => "real_ip_header X-Forwarded-For",
        (_, true) => "real_ip_recursive",
    };
    let recursive = if recursive { "on" } else { "off" };
    let mut group = Group::new(
        name,
        format!(
            "map $remote_port $told {{ default some; '' none; 99 99; }} \
             server {{ listen 127.0.0.1:{{port}}; \
             set_real_ip_from 127.0.0.1; set_real_ip_from 10.0.0.0/8; real_ip_header {header}; \
             real_ip_recursive {recursive}; \
             return 200 '$remote_addr [$told] $realip_remote_addr'; }}"
        ),
    );
    for value in TELLING {
        group = group.get_with("/", &[&format!("{header}: {value}")]);
        if value.starts_with("::ffff:") {
            group =
                group.differs("IPv4 addresses in the form of IPv6 are written as those of IPv4");
        }
    }
    group
        .get("/")
        .get_with("/", &[&format!("{header}: 1.1.1.1"), &format!("{header}: 2.2.2.2")])
        .get_with("/", &[&format!("{header}: 1.1.1.1"), &format!("{header}: 10.0.0.2")])
        .get_with("/", &[&format!("{header}: x"), &format!("{header}: 10.0.0.2")])
        .get_with(
            "/",
            &[&format!("{header}: 1.1.1.1, x"), &format!("{header}: 10.0.0.2, 10.0.0.3")],
        )
        .get_with("/", &[&format!("{header}: 1.1.1.1"), &format!("{header}: x, 10.0.0.2")])
}

fn real_ips_of_places() -> Group {
    let mut group = Group::server(
        "realip in servers and locations",
        "root {dir}; default_type text/plain; \
         location /none/ { proxy_set_header X-Ip $remote_addr; proxy_pass http://{origin}; } \
         location /own/ { set_real_ip_from 127.0.0.0/8; real_ip_header X-Own; \
           proxy_set_header X-Ip '$remote_addr $realip_remote_addr'; proxy_pass http://{origin}; } \
         location /stranger/ { set_real_ip_from 192.0.2.1; proxy_set_header X-Ip $remote_addr; \
           proxy_pass http://{origin}; } \
         location /denied/ { set_real_ip_from 127.0.0.1; real_ip_header X-Own; allow 1.2.3.4; deny all; } \
         location /named/ { set_real_ip_from localhost; real_ip_header x-own; \
           proxy_set_header X-Ip $remote_addr; proxy_pass http://{origin}; }",
    )
    .file("denied/f", "let in");
    for target in ["/none/x", "/own/x", "/stranger/x", "/denied/f", "/named/x"] {
        group = group
            .get(target)
            .get_with(target, &["X-Own: 1.2.3.4"])
            .get_with(target, &["X-Real-IP: 1.2.3.4"])
            .get_with(target, &["X-Own: 5.6.7.8", "X-Own: 1.2.3.4"]);
    }
    group
}

fn referrers() -> Group {
    let mut group = Group::server(
        "valid_referers",
        "server_name a.example *.wild.example ~^re\\d+\\.example$; \
         location /names/ { valid_referers server_names; return 200 '[$invalid_referer]'; } \
         location /none/ { valid_referers none b.example; return 200 '[$invalid_referer]'; } \
         location /blocked/ { valid_referers blocked b.example; return 200 '[$invalid_referer]'; } \
         location /hosts/ { valid_referers b.example *.c.example d.example.* .e.example f.example/path/ \
           ~\\.google\\.; return 200 '[$invalid_referer]'; } \
         location /open/ { return 200 '[$invalid_referer]'; }",
    );
    let referrers = [
        "http://a.example/x",
        "https://A.example:8080",
        "http://x.wild.example/",
        "http://re12.example/",
        "http://b.example",
        "http://x.c.example/",
        "http://c.example/",
        "http://d.example.net/y",
        "http://e.example/",
        "http://x.e.example/",
        "http://f.example/path/x",
        "http://f.example/other",
        "http://f.example",
        "http://www.google.de/",
        "http://evil.example/a.example",
        "ftp://b.example/",
        "masked",
        "",
        "http://x",
    ];
    for place in ["/names/", "/none/", "/blocked/", "/hosts/", "/open/"] {
        group = group.get(place);
        for referrer in referrers {
            group = group.get_with(place, &[&format!("Referer: {referrer}")]);
        }
    }
    group
}

fn links() -> Group {
    Group::server(
        "secure_link",
        "location /s/ { secure_link $arg_md5,$arg_expires; \
           secure_link_md5 '$secure_link_expires$uri$remote_addr secret'; \
           if ($secure_link = '') { return 403; } if ($secure_link = '0') { return 410; } \
           return 200 '[$secure_link] [$secure_link_expires]'; } \
         location /plain/ { secure_link $arg_md5; secure_link_md5 'linksecret'; \
           proxy_set_header X-Link '[$secure_link]'; proxy_pass http://{origin}; } \
         location /half/ { secure_link $arg_md5; return 200 '[$secure_link]'; } \
         location /p/ { secure_link_secret secret; if ($secure_link = '') { return 403; } \
           rewrite ^ /in/$secure_link; } \
         location /in/ { internal; proxy_pass http://{origin}; }",
    )
    .gets(&[
        "/s/link?md5=_e4Nc3iduzkWRm01TBBNYw&expires=2147483647",
        "/s/link?md5=_e4Nc3iduzkWRm01TBBNYw==&expires=2147483647",
        "/s/link?md5=_e4Nc3iduzkWRm01TBBNYw&expires=2147483646",
        "/s/link?md5=_e4Nc3iduzkWRm01TBBNYw",
        "/s/link?md5=&expires=5",
        "/s/other?md5=_e4Nc3iduzkWRm01TBBNYw&expires=2147483647",
        "/s/link",
        "/s/link?md5=ASv6nL5iw-Pqx7SsowdKcA&expires=5",
        "/plain/?md5=XoFHBKKNm8GRT_GfoMSgCg",
        "/plain/?md5=4pONhjbmDB21wDGrS6tsCg",
        "/plain/?md5=x",
        "/plain/",
        "/half/?md5=x",
        "/p/5d41402abc4b2a76b9719d911017c592/link",
        "/p/5e814704a28d9bc1914ff19fa0c4a00a/link",
        "/p/5E814704A28D9BC1914FF19FA0C4A00A/link",
        "/p/5e814704a28d9bc1914ff19fa0c4a00a/",
        "/p/5e814704a28d9bc1914ff19fa0c4a00a",
        "/p/x/link",
        "/p/",
    ])
}

/// Scripts run before anybody is asked who it is (nginx 59).
fn scripts() -> Group {
    Group::server(
        "scripts and guards",
        &format!(
            "{TOLD} valid_referers b.example; \
             location /returns/ {{ deny all; return 204; }} \
             location /moved/ {{ rewrite ^ /shut/f last; }} \
             location /broken/ {{ rewrite ^ /shut/f break; }} \
             location /shut/ {{ deny all; }} \
             location /if/ {{ if ($arg_x) {{ return 200 'x'; }} deny all; }} \
             location /inside/ {{ if ($arg_x) {{ set $y 1; }} deny all; }} \
             location /hotlink/ {{ if ($invalid_referer) {{ return 403; }} }} \
             location /rated/ {{ set $limit_rate 7k; proxy_set_header X-Rate $limit_rate; \
               proxy_pass http://{{origin}}; }} \
             location /unrated/ {{ set $limit_rate 7x; proxy_set_header X-Rate $limit_rate; \
               proxy_pass http://{{origin}}; }} \
             location /asked/ {{ auth_request /judge; }} \
             location /judge {{ if ($request_uri ~ good) {{ return 200; }} return 403; }} \
             location /addr/ {{ if ($remote_addr = 10.0.0.1) {{ return 200 'it is'; }} return 200 'no'; }}"
        ),
    )
    .file("broken/f", "x")
    .file("shut/f", "shut")
    .file("hotlink/f", "x")
    .file("inside/f", "x")
    .file("asked/good", "x")
    .file("asked/bad", "x")
    .gets(&[
        "/returns/", "/moved/", "/broken/", "/shut/f", "/if/?x=1", "/if/", "/inside/f?x=1", "/inside/f", "/hotlink/f",
        "/rated/", "/unrated/", "/asked/good", "/asked/bad", "/addr/",
    ])
    .get_with("/hotlink/f", &["Referer: http://b.example/"])
    .get_with("/hotlink/f", &["Referer: http://c.example/"])
    .get_with("/addr/", &["X-Real-IP: 10.0.0.1"])
    .ask("POST", "a.example", "/moved/", &[], "body")
}

fn slow(request: &Request) -> Vec<u8> {
    let rate = request.target.rsplit('=').next().unwrap_or("0").to_owned();
    response("200 OK", &[("X-Accel-Limit-Rate", rate.as_str())], b"a body")
}

/// How long it takes is another test's.
fn slow_answers() -> Group {
    Group::server(
        "limit_rate",
        "root {dir}; default_type text/plain; \
         location /slow/ { limit_rate 100k; limit_rate_after 1k; } \
         location /var/ { limit_rate $arg_r; limit_rate_after $arg_a; } \
         location /accel/ { proxy_pass http://{origin}; } \
         location /told/ { limit_rate 7k; return 200 '$limit_rate'; }",
    )
    .worker(slow as Worker)
    .file("slow/f", "x".repeat(3000))
    .file("var/f", "x".repeat(3000))
    .gets(&[
        "/slow/f",
        "/var/f",
        "/var/f?r=1m",
        "/var/f?r=1m&a=10",
        "/var/f?r=x",
        "/accel/?r=1000",
        "/accel/?r=x",
        "/told/",
    ])
    .ask("HEAD", "a.example", "/slow/f", &[], "")
}

fn internal() -> Group {
    Group::server(
        "internal",
        "root {dir}; default_type text/plain; error_page 404 /missing.html; \
         location /in/ { internal; deny all; } location = /missing.html { internal; } \
         location /x/ { error_page 403 /in/f; deny all; }",
    )
    .file("in/f", "inside")
    .file("missing.html", "missing")
    .gets(&["/in/f", "/missing.html", "/nowhere", "/x/y"])
}
