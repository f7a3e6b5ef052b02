//! `set`, `if`, `rewrite`, `return` and `break`, and where they lead.

use std::fmt::Write;

use super::group::Group;

pub fn groups() -> Vec<Group> {
    vec![
        flags(),
        escapes(),
        of_servers(),
        conditions(),
        conditions_with_settings(),
        last_condition_wins(),
        captures(),
        answers(),
        answers_in_place(),
        statuses(),
        error_pages(),
        rounds(),
        files(),
        replaced(),
        redirects(),
        query_of_variables(),
        passed(),
        limited(),
    ]
}

const FLAGS: [&str; 5] = ["", "last", "break", "redirect", "permanent"];

const REPLACEMENTS: [&str; 8] = [
    "/to/$1",
    "/to/$1?",
    "/to/$1?own=1",
    "/to/$1?own=$1",
    "/to/$1?own=1?",
    "'/to/ $1?x=$arg_q&y=$args'",
    "/to/$1$is_args$args",
    "/to/$uri?u=$uri",
];

/// Each flag with each replacement, in locations that pass on what comes of it.
fn flags() -> Group {
    let mut server = String::new();
    let mut targets = Vec::new();
    for (number, flag) in FLAGS.iter().enumerate() {
        for (which, replacement) in REPLACEMENTS.iter().enumerate() {
            writeln!(
                server,
                "location /{number}{which}/ {{ rewrite ^/../(.*)$ {replacement} {flag}; \
                 proxy_pass http://{{origin}}; }}"
            )
            .expect("a string takes it");
            for tail in ["x", "x?q=1", "a%20b?q=%20+", "a%26b%3Fc", "?q"] {
                targets.push(format!("/{number}{which}/{tail}"));
            }
        }
    }
    server += "location /to/ { return 200 '$uri|$args|$query_string|$is_args|$request_uri'; }";
    targets.iter().fold(Group::server("flags of rules", &server), |group, target| group.get(target))
}

const SPELLINGS: [&str; 14] = [
    "/a",
    "/a%20b",
    "/a+b",
    "/a%2Bb",
    "/a%25b",
    "/a%2525",
    "/%C3%A9",
    "/a&b;c=d",
    "/a%26b%3B",
    "/a'b(c)",
    "/a%22b",
    "/a%3Cb%3E",
    "/a%7Cb%7B%7D",
    "/a%23b",
];

/// Groups of a path in a path, in arguments, in a redirect, in a variable, in what a worker sees.
fn escapes() -> Group {
    let server = "\
        location /path/ { rewrite ^/path/(.*)$ /p/$1 last; } \
        location /arg/ { rewrite ^/arg/(.*)$ /p/x?a=$1 last; } \
        location /away/ { rewrite ^/away/(.*)$ /gone/$1?a=$1 redirect; } \
        location /far/ { rewrite ^/far/(.*)$ http://b.example/$1?a=$1; } \
        location /set/ { set $x 1; if ($uri ~ ^/set/(.*)$) { set $x $1; } return 200 '$x'; } \
        location /after/ { rewrite ^/after/(.*)$ /other/$1; set $x $1; return 200 '$x|$uri'; } \
        location /worker/ { rewrite ^/worker/(.*)$ /w/$1?a=$1 break; proxy_pass http://{origin}; } \
        location /p/ { return 200 '$uri|$args|$arg_a'; }";
    let mut group = Group::server("escapes of groups", server);
    for place in ["/path", "/arg", "/away", "/far", "/set", "/after", "/worker"] {
        for spelling in SPELLINGS {
            group = group.get(&format!("{place}{spelling}"));
        }
    }
    group.gets(&["/away/a?b=%20c", "/path/a?b=%zz", "/arg/?", "/away/a?%0d%0a"])
}

/// What stands at servers runs before a location is chosen, and again after redirects inside.
fn of_servers() -> Group {
    Group::server(
        "scripts of servers",
        "set $n 0$n; set $seen \"$seen[$uri]\"; error_page 404 /404.txt; error_page 403 @named; \
         rewrite ^/old/(.*)$ /new/$1; rewrite ^/new/(.*)\\.php$ /php/$1 last; \
         rewrite ^/stop/(.*)$ /stopped/$1 break; rewrite ^/stopped /never last; \
         if ($arg_gone) { return 410 gone; } if ($arg_move) { return 302 /moved?$args; } \
         if ($arg_to) { rewrite ^ /to/$arg_to? last; } if ($request_method = PUT) { return 405; } \
         location / { return 200 '/ $n $seen $args'; } \
         location /new/ { return 200 'new $uri $seen'; } \
         location /php/ { return 200 'php $uri $n'; } \
         location /stopped/ { return 200 'stopped $uri $n'; } \
         location /to/ { return 200 'to $uri $args|$request_uri'; } \
         location /missing { return 404; } location /refused { return 403; } \
         location = /404.txt { return 200 '404 $n $seen $uri'; } \
         location @named { return 200 'named $n $seen $uri'; }",
    )
    .gets(&[
        "/",
        "/?a=b",
        "/old/x",
        "/old/x.php",
        "/old/x.php?y=z",
        "/new/x.php",
        "/stop/x",
        "/stop/x.php",
        "/?gone=1",
        "/?gone=0",
        "/?gone=",
        "/?move=1&x=y",
        "/?to=a",
        "/?to=a%20b",
        "/x?to=a/b&c=d",
        "/missing",
        "/refused",
        "/missing?gone=",
    ])
    .ask("PUT", "a.example", "/", &[], "x")
    .ask("POST", "a.example", "/old/x", &[], "body")
    .ask("HEAD", "a.example", "/old/x", &[], "")
}

const CONDITIONS: [&str; 22] = [
    "$arg_x",
    "$arg_x = a",
    "$arg_x != a",
    "$arg_x = ''",
    "$arg_x ~ ^a",
    "$arg_x ~* ^A",
    "$arg_x !~ a",
    "$arg_x !~* A",
    "$arg_x = $arg_y",
    "$arg_x ~ '^(a|b) ?$'",
    "$http_x",
    "$http_x = 'a b'",
    "$request_method = POST",
    "$request_method !~ ^(GET|HEAD)$",
    "$host ~ ^a\\.",
    "$http_user_agent ~* 'curl|wget'",
    "$remote_addr = 127.0.0.1",
    "$scheme = http",
    "$args ~ (^|&)x=(.*)$",
    "$uri ~ ^/..?$",
    "$uri = '/a b'",
    "$query_string ~ \"[a-z]{1}\"",
];

/// Each condition with several requests: a letter for each that holds.
fn conditions() -> Group {
    let mut server = "set $held ''; ".to_owned();
    for (number, condition) in CONDITIONS.iter().enumerate() {
        write!(server, "if ({condition}) {{ set $held \"$held {number}\"; }} ")
            .expect("a string takes it");
    }
    server += "location / { return 200 'held:$held'; }";
    Group::server("conditions", &server)
        .gets(&[
            "/",
            "/?x",
            "/?x=",
            "/?x=0",
            "/?x=00",
            "/?x=1",
            "/?x=a",
            "/?x=A",
            "/?x=a&y=a",
            "/?y=a",
            "/?x=ab",
            "/?x=%61",
            "/?a=1&x=2",
            "/a%20b",
            "/ab",
            "/abc?x=b%20",
        ])
        .get_with("/", &["X: a b", "User-Agent: Curl/8"])
        .get_with("/", &["X: 0", "User-Agent: none"])
        .get_with("/", &["X:"])
        .ask("POST", "b.example", "/?x=b", &[], "x")
        .ask("DELETE", "a", "/", &[], "")
}

/// An `if` in a location is a location of its own, which inherits.
fn conditions_with_settings() -> Group {
    Group::server(
        "settings in conditions",
        "root {dir}/one; \
         location /pass { if ($arg_to) { proxy_pass http://{second}; } proxy_pass http://{origin}; } \
         location /kept/ { proxy_pass http://{origin}/uri/; if ($arg_x) { set $a 1; } } \
         location /set { set $a 1; if ($arg_x) { set $a 2; } proxy_pass http://{origin}; \
           proxy_set_header X-A $a; } \
         location /header { proxy_pass http://{origin}; proxy_set_header X-A outer; \
           if ($arg_x) { set $b 1; } } \
         location /root { if ($arg_two) { root {dir}/two; } } \
         location /type { default_type text/a; if ($arg_x) { set $c 1; } return 200 x; } \
         location /pages { error_page 404 = /one.txt; if ($arg_x) { error_page 404 = /two.txt; } \
           if ($arg_y) { set $d 1; } root {dir}/none; } \
         location /expires { expires 1h; if ($arg_x) { expires off; } root {dir}/one; } \
         location /rewrite { if ($arg_x) { rewrite ^ /one.txt break; } root {dir}/one; } \
         location /away { if ($arg_x) { rewrite ^ /pass last; } return 200 stays; } \
         location /returns { if ($arg_x) { return 200 inner; } return 200 outer; } \
         location /breaks { if ($arg_x) { break; } return 200 outer; proxy_pass http://{origin}; } \
         location ~ ^/re/(.*)$ { if ($arg_x) { proxy_pass http://{second}; } \
           proxy_pass http://{origin}; }",
    )
    .file("one/one.txt", "one")
    .file("one/two.txt", "two")
    .file("one/root", "root of one")
    .file("two/root", "root of two")
    .file("one/expires", "e")
    .gets(&[
        "/pass",
        "/pass?to=1",
        "/pass?to=0",
        "/kept/a%20b",
        "/kept/a%20b?x=1",
        "/kept/a?x=0&y",
        "/header",
        "/header?x=1",
        "/root",
        "/root?two=1",
        "/type",
        "/type?x=1",
        "/pages",
        "/pages?x=1",
        "/pages?y=1",
        "/pages?x=1&y=1",
        "/expires",
        "/expires?x=1",
        "/rewrite?x=1",
        "/rewrite",
        "/away",
        "/away?x=1",
        "/returns",
        "/returns?x=1",
        "/breaks",
        "/breaks?x=1",
        "/re/a",
        "/re/a?x=1",
    ])
    .ignore(&["date", "expires"])
}

/// Of several conditions that hold, the settings of the last count alone.
fn last_condition_wins() -> Group {
    Group::server(
        "the last condition wins",
        "location / { if ($arg_a) { expires 1h; } if ($arg_b) { charset koi8-r; } \
           if ($arg_c) { root {dir}/c; } root {dir}; default_type text/plain; types {} }",
    )
    .file("x", "x")
    .file("c/x", "c/x")
    .ignore(&["expires"])
    .gets(&[
        "/x",
        "/x?a=1",
        "/x?b=1",
        "/x?c=1",
        "/x?a=1&b=1",
        "/x?b=1&c=1",
        "/x?a=1&c=1",
        "/x?a=1&b=1&c=1",
    ])
}

/// Groups come from names of servers, locations, conditions, rules and maps; the last match counts.
fn captures() -> Group {
    Group::new(
        "captures",
        "map $arg_m $mapped { default none; ~^(?<first>.)(.*)$ '$first-$2'; } \
         server { listen 127.0.0.1:{port}; server_name ~^(?<sub>[a-z]+)\\.(.*)$; \
           location / { return 200 '$sub|$1|$2|$mapped|$first'; } \
           location ~ ^/one/(?<rest>.*)$ { return 200 '$rest|$1|$2|$sub'; } \
           location ~* ^/TWO/([a-z])([a-z])$ { return 200 '$1|$2|$3'; } \
           location ~ ^/three/ { return 200 '$1|$2'; } \
           location ~ ^/outer/(.*)$ { location ~ /inner/(.*)$ { return 200 'in $1|$2'; } return 200 'out $1'; } \
           location ~ ^/if/(.*)$ { if ($args ~ x=(.)) { return 200 'if $1'; } return 200 'location $1'; } \
           location ~ ^/none/(.*)$ { if ($args ~ x=.) { return 200 'if $1'; } return 200 'location $1'; } \
           location ~ ^/rule/(.*)$ { rewrite ^/(rule)/ /x/$1; return 200 '$1|$uri'; } \
           location ~ ^/miss/(.*)$ { rewrite ^/(no)/ /x/$1; return 200 '$1|$uri'; } \
           location ~ ^/not/(.*)$ { if ($args !~ x=(.)) { return 200 'not $1'; } return 200 'held $1'; } \
           location ~ ^/many/(.)(.)(.)(.)(.)(.)(.)(.)(.)(.)$ { return 200 '$1$2$3$9$10'; } \
           location ~ ^/late/(?<late>.*)$ { rewrite ^ /end last; } \
           location /end { return 200 '$late|$1'; } \
         }",
    )
    .gets(&[
        "/?m=abc",
        "/",
        "/one/a%20b",
        "/one/",
        "/two/ab",
        "/TWO/AB",
        "/three/",
        "/outer/x",
        "/outer/inner/y",
        "/if/a?x=b",
        "/if/a",
        "/none/a?x=b",
        "/none/a",
        "/rule/a",
        "/miss/a",
        "/not/a",
        "/not/a?x=z",
        "/many/abcdefghij",
        "/late/x",
    ])
    .ask("GET", "WWW.a.example", "/", &[], "")
}

const RETURNED: [&str; 24] = [
    "200",
    "200 ''",
    "200 text",
    "200 'a $uri b'",
    "201 made",
    "202",
    "204",
    "204 text",
    "301 /there",
    "301 http://b.example$request_uri",
    "302 there",
    "303 /there?a=b",
    "307 //b.example/",
    "308 $scheme://$host/x",
    "http://b.example/",
    "https://b.example/$uri",
    "400",
    "400 bad",
    "404",
    "404 'no $uri'",
    "404 ''",
    "410",
    "503 'busy'",
    "599",
];

fn answers() -> Group {
    let mut server = String::new();
    let mut group_targets = Vec::new();
    for (number, returned) in RETURNED.iter().enumerate() {
        writeln!(server, "location = /r{number} {{ return {returned}; }}").expect("a string");
        writeln!(server, "location = /r{number}.html {{ return {returned}; }}").expect("a string");
        group_targets.extend([format!("/r{number}"), format!("/r{number}.html?a=b")]);
    }
    server += "location = /close { return 444; }";
    let group = Group::server("answers of scripts", &server);
    group_targets
        .iter()
        .fold(group, |group, target| group.get(target))
        .get("/close")
        .ask("HEAD", "a.example", "/r2", &[], "")
        .ask("POST", "a.example", "/r2", &[], "a body")
        .ask("PUT", "a.example", "/r8", &[], "a body")
        .ask("HEAD", "a.example", "/r17", &[], "")
        .ask("OPTIONS", "a.example", "/r0", &[], "")
}

/// What is said about answers holds for those of scripts, too.
fn answers_in_place() -> Group {
    Group::server(
        "answers and what stands beside them",
        "default_type text/x-own; server_name a.example; absolute_redirect off; charset utf-8; charset_types text/x-own text/css; \
         location /type { return 200 x; } location /css.css { return 200 x; } \
         location /away { return 301 /there; } location /host { return 301 http://b.example/; } \
         location /rule { rewrite ^ /there redirect; } \
         location /port { absolute_redirect on; port_in_redirect off; return 301 /there; } \
         location /name { absolute_redirect on; server_name_in_redirect on; return 301 /there; } \
         location /expires { expires 1h; return 200 x; } \
         location /error { expires 1h; return 404 x; } \
         location /body { client_max_body_size 3; return 200 x; }",
    )
    .ignore(&["expires"])
    .gets(&["/type", "/css.css", "/away", "/host", "/rule", "/port", "/name", "/expires", "/error"])
    .ask("POST", "a.example", "/body", &[], "abc")
    .ask("POST", "a.example", "/body", &[], "abcd")
}

/// `$status` in the text that is answered with it.
fn statuses() -> Group {
    let http = "map $status $kind { default other; ~^2 good; ~^4 bad; } server { listen 127.0.0.1:{port}; \
         error_page 404 /for; error_page 403 = /for; error_page 410 @for; recursive_error_pages on; \
         location / { return 200 '$status $kind'; } location /gone { return 404 '$status $kind'; } \
         location /odd { return 299 '$status'; } location /low { return 42 '$status'; } \
         location /away { return 302 /x/$status; } location /early { set $s $status; return 200 '$s'; } \
         location /if { if ($status = 000) { return 200 'none'; } return 200 'some'; } \
         location /rule { rewrite ^ /to/$status redirect; } \
         location = /for { return 200 'for $status $kind'; } location @for { return 410 'named $status'; } \
         location /404 { return 404; } location /403 { return 403; } location /410 { return 410; } }";
    Group::new("the status in a text", http).gets(&[
        "/", "/gone", "/odd", "/away", "/early", "/if", "/rule", "/for", "/404", "/403", "/410",
    ])
}

fn error_pages() -> Group {
    Group::server(
        "error pages and scripts",
        "error_page 404 /page; error_page 410 = /answer; error_page 411 =200 /forced; error_page 402 @named; \
         error_page 406 = @answer; error_page 418 http://b.example/away; error_page 301 /moved; \
         location /page { set $p 1; return 200 'page $uri $request_uri $args $p'; } \
         location /answer { return 201 'answer $uri $request_method'; } \
         location /forced { return 404 'forced'; } \
         location /moved { return 200 'moved'; } \
         location @named { set $x named; return 200 '$x $uri $request_method $args'; } \
         location @answer { rewrite ^/e(.*)$ /other$1 break; proxy_pass http://{origin}; } \
         location /e404 { return 404; } location /e410 { return 410; } location /e411 { return 411; } \
         location /e402 { return 402; } location /e406 { return 406; } location /e418 { return 418; } \
         location /e301 { return 301 /x; } location /e404t { return 404 text; } \
         location /rewritten { rewrite ^ /e406?new=1 last; } \
         location /again { error_page 403 /e404; return 403; } \
         location /deep { recursive_error_pages on; error_page 403 /e404; return 403; } \
         location /to301 { error_page 403 = /e301; return 403; } \
         location /rule { error_page 403 = /rule2; return 403; } \
         location /rule2 { rewrite ^ /there redirect; } \
         location /var { set $v 7; error_page 403 = /var2; return 403; } \
         location /var2 { return 200 'v $v'; } \
         location /lost { error_page 403 @lost; return 403; } \
         location /vars { error_page 403 = /var3$uri?was=$request_uri&a=$arg_a; return 403; } \
         location /var3 { return 200 'var3 $uri $args'; } \
         location /tourl { error_page 403 http://b.example/login?next=$request_uri; return 403; } \
         location /toname { error_page 403 $arg_n; return 403; }",
    )
    .gets(&[
        "/e404",
        "/e404?a=b",
        "/e410",
        "/e411",
        "/e402?a=b",
        "/e406?a=b",
        "/e406/a%20b",
        "/e418",
        "/e301",
        "/e404t",
        "/rewritten",
        "/rewritten?old=1",
        "/again",
        "/deep",
        "/to301",
        "/rule",
        "/var",
        "/lost",
        "/vars?a=b",
        "/vars/a%20b?a=%20",
        "/tourl/a?b",
        "/toname?n=@named",
        "/toname?n=/page",
        "/toname?n=http://c.example/",
        "/none",
    ])
    .ask("POST", "a.example", "/e410", &[], "body")
    .ask("POST", "a.example", "/e402", &[], "body")
    .ask("POST", "a.example", "/e406", &[], "body")
    .ask("HEAD", "a.example", "/e404", &[], "")
}

/// Ten rounds, then 500.
fn rounds() -> Group {
    let mut server = "location /ring { rewrite ^ /ring last; } \
                      location /two { rewrite ^ /one last; } location /one { rewrite ^ /two last; } \
                      location /round { if ($arg_n = 9) { return 200 end; } rewrite ^ /ring last; } \
                      location /paged { error_page 500 /page; rewrite ^ /paged last; } \
                      location /page { return 200 page; } "
        .to_owned();
    for count in 0..14 {
        writeln!(server, "location = /step{count} {{ rewrite ^ /step{} last; }}", count + 1)
            .expect("a string takes it");
    }
    server += "location = /step14 { return 200 end; }";
    let group = Group::server("rounds", &server).gets(&["/ring", "/two", "/paged", "/round?n=9"]);
    (0..14).fold(group, |group, count| group.get(&format!("/step{count}")))
}

fn files() -> Group {
    Group::server(
        "tests of files",
        "root {dir}; set $f ''; set $d ''; set $e ''; set $x ''; set $nf ''; set $nd ''; \
         if (-f $request_filename) { set $f f; } if (-d $request_filename) { set $d d; } \
         if (-e $request_filename) { set $e e; } if (-x $request_filename) { set $x x; } \
         if (!-f $document_root$uri) { set $nf nf; } if (!-d $document_root$uri) { set $nd nd; } \
         location / { return 200 '$f$d$e$x|$nf$nd'; } \
         location /front/ { root {dir}; if (!-e $request_filename) { rewrite ^ /index.txt last; } } \
         location /alias/ { alias {dir}/sub/; if (-f $request_filename) { return 200 'there'; } return 200 'not'; } \
         location /changed { rewrite ^ /a.txt; if (-f $request_filename) { return 200 'there'; } return 200 'not'; } \
         location = /index.txt { }",
    )
    .file("a.txt", "a")
    .file("sub/b.txt", "b")
    .file("front/c.txt", "c")
    .file("index.txt", "index")
    .gets(&[
        "/",
        "/a.txt",
        "/none",
        "/sub",
        "/sub/",
        "/sub/b.txt",
        "/a.txt/",
        "/front/c.txt",
        "/front/none",
        "/front/none?x",
        "/alias/b.txt",
        "/alias/none",
        "/changed",
        "/index.txt",
    ])
}

/// `proxy_pass` with a URI, and what becomes of it where the path was rewritten.
fn replaced() -> Group {
    Group::server(
        "replaced paths and rewritten ones",
        "location /plain/ { proxy_pass http://{origin}/base/; } \
         location /query { proxy_pass http://{origin}/q?x=1; } \
         location /broken/ { rewrite ^/broken/(.*)$ /new/$1 break; proxy_pass http://{origin}/base/; } \
         location /args/ { set $args own=1; proxy_pass http://{origin}/base/; } \
         location /none/ { set $args ''; proxy_pass http://{origin}; } \
         location /more/ { set $args $args&own=1; proxy_pass http://{origin}; } \
         location /nothing/ { rewrite ^/other /x break; proxy_pass http://{origin}/base/; } \
         location /last/ { rewrite ^/last/(.*)$ /plain/$1 last; } \
         location /raw/ { proxy_pass http://{origin}; } \
         location /toraw/ { rewrite ^/toraw/(.*)$ /raw/$1 last; } \
         location = /exact { proxy_pass http://{origin}/there; } \
         location /slash { proxy_pass http://{origin}/; } \
         rewrite ^/server/(.*)$ /plain/$1 break;",
    )
    .gets(&[
        "/plain/a%20b?x=y",
        "/plain/",
        "/plain",
        "/plain?x",
        "/plain/%C3%A9",
        "/plain/a%2Fb",
        "/plain/a+b",
        "/query?y=2",
        "/query",
        "/queryx",
        "/broken/a%20b?x=y",
        "/broken/",
        "/args/a?x=y",
        "/args/a%20b",
        "/none/a?x=y",
        "/more/a?x=y",
        "/more/a",
        "/more/a%20b",
        "/nothing/a?x=y",
        "/last/a%20b?x=y",
        "/raw/a%20b?x=%20",
        "/raw/%61",
        "/toraw/a%20b?x=%20",
        "/toraw/%61%25",
        "/exact?x",
        "/slash/a",
        "/slasha",
        "/server/a%20b?x",
    ])
    .ask("POST", "a.example", "/broken/a", &[], "a body")
    .ask("POST", "a.example", "/last/a", &[], "a body")
    .ask("HEAD", "a.example", "/broken/a", &[], "")
}

/// Redirects that the server makes by itself.
fn redirects() -> Group {
    Group::new(
        "slashes that are missing",
        "server { listen 127.0.0.1:{port}; server_name a.example; \
           location /on/ { proxy_pass http://{origin}; } \
           location /off/ { absolute_redirect off; proxy_pass http://{origin}; } \
           location /port/ { port_in_redirect off; proxy_pass http://{origin}; } \
           location /name/ { server_name_in_redirect on; proxy_pass http://{origin}; } \
           location '/with blank/' { proxy_pass http://{origin}; } \
           location /rewritten { rewrite ^ /on last; } \
           location /args { rewrite ^ /on?a=b last; } \
         }",
    )
    .gets(&[
        "/on",
        "/on?x=y",
        "/off",
        "/off?x",
        "/port",
        "/name",
        "/with%20blank",
        "/rewritten",
        "/rewritten?x",
        "/args?c=d",
    ])
    .ask("GET", "b.example", "/name", &[], "")
    .ask("GET", "b.example", "/on", &[], "")
    .ask("POST", "a.example", "/on", &[], "x")
    .raw("GET /on HTTP/1.0\r\n\r\n")
    .raw("GET /name HTTP/1.0\r\n\r\n")
}

/// Variables that follow the URI, and those that do not.
fn query_of_variables() -> Group {
    let seen = "'$uri|$document_uri|$args|$query_string|$is_args|$arg_a|$request_uri|$request'";
    Group::server(
        "variables after rewriting",
        &format!(
            "location /plain {{ return 200 {seen}; }} \
             location /path {{ rewrite ^ /plain last; }} \
             location /args {{ rewrite ^ /plain?a=2 last; }} \
             location /drop {{ rewrite ^ /plain? last; }} \
             location /set {{ set $args a=3; return 200 {seen}; }} \
             location /clear {{ set $args ''; return 200 {seen}; }} \
             location /keep {{ set $old $args; rewrite ^ /plain?a=4? ; return 200 '$old|$args'; }} \
             location /page {{ error_page 404 /plain?a=5; return 404; }} \
             location /empty {{ return 200 '[$nothing][$later]'; set $nothing x; }} \
             location /other {{ set $later y; set $nothing z; return 200 '$later$nothing'; }} \
             location /twice {{ set $x a; set $x $x$x; set $x $x$x; return 200 $x; }} \
             location /swap {{ set $x a; set $y b; set $z $x; set $x $y; set $y $z; return 200 $x$y; }} \
             location /brace {{ set $x a; return 200 '${{x}}b$x-'; }}"
        ),
    )
    .gets(&[
        "/plain?a=1",
        "/plain",
        "/plain?",
        "/path?a=1",
        "/args?a=1",
        "/args",
        "/drop?a=1",
        "/set?a=1",
        "/set",
        "/clear?a=1",
        "/keep?a=1",
        "/page?a=1",
        "/empty",
        "/other",
        "/twice",
        "/swap",
        "/brace",
    ])
}

/// `proxy_pass` with variables.
fn passed() -> Group {
    Group::new(
        "workers that variables name",
        "upstream app { server {origin}; } upstream other { server {second}; } \
         map $arg_to $to { default app; other other; second {second}; closed {closed}; name nowhere.invalid; \
           empty ''; port app:81; bad 'a:b'; } \
         server { listen 127.0.0.1:{port}; error_page 418 = @named; \
         location /plain { proxy_pass http://$to; } \
         location /uri/ { proxy_pass http://$to/base$uri; } \
         location /args/ { proxy_pass http://$to/base$is_args$args; } \
         location /asked { proxy_pass http://$to$request_uri; } \
         location /query { proxy_pass http://$to?x=1; } \
         location ~ ^/re/(.*)$ { proxy_pass http://$to/$1; } \
         location /if { if ($arg_to) { proxy_pass http://$to/inner; } proxy_pass http://app/outer; } \
         location /rewritten { rewrite ^/rewritten(.*)$ /new$1 break; proxy_pass http://$to; } \
         location /both { rewrite ^/both(.*)$ /new$1 break; proxy_pass http://$to/own; } \
         location /whole { set $url http://{origin}/whole; proxy_pass $url; } \
         location /scheme { set $url ftp://{origin}/; proxy_pass $url; } \
         location /none { set $url ''; proxy_pass $url; } \
         location /host { proxy_pass http://$to; proxy_set_header X-Host $proxy_host:$proxy_port; } \
         location /teapot { return 418; } \
         location @named { proxy_pass http://$to/named; } \
         location /const { proxy_pass http://app/const$is_args$args; } }",
    )
    .gets(&[
        "/plain/a%20b?x=y",
        "/plain?to=other",
        "/plain?to=second",
        "/plain?to=closed",
        "/plain?to=name",
        "/plain?to=empty",
        "/plain?to=port",
        "/plain?to=bad",
        "/uri/a?b",
        "/uri",
        "/args/a",
        "/args/a?b=%20",
        "/asked/a%20b?to=second&c",
        "/query?y=2",
        "/re/a/b?c",
        "/re/a?to=second",
        "/if",
        "/if?to=second",
        "/rewritten/a%20b?x",
        "/both/a?x",
        "/whole/x?y",
        "/scheme",
        "/none",
        "/host",
        "/host?to=second",
        "/teapot?a=b",
        "/const?a=b",
    ])
    .ask("POST", "a.example", "/plain?to=second", &[], "a body")
    .ask("HEAD", "a.example", "/re/a?to=second", &[], "")
}

fn limited() -> Group {
    let group = Group::server(
        "limit_except and what it leads to",
        "location /away { limit_except GET { proxy_pass http://{second}; } proxy_pass http://{origin}; } \
         location /closed { limit_except GET POST { deny all; } proxy_pass http://{origin}; } \
         location /script { limit_except GET { deny all; } return 200 script; } \
         location /if { limit_except GET { deny all; } if ($arg_x) { set $y 1; } \
           proxy_pass http://{origin}; } \
         location /kept/ { limit_except GET { allow all; } proxy_pass http://{origin}/base/; } \
         location /named { error_page 418 = @named; return 418; } \
         location @named { limit_except GET { deny all; } proxy_pass http://{origin}; }",
    );
    let mut group = group;
    for target in ["/away", "/closed", "/script", "/if?x=1", "/kept/a", "/named"] {
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"] {
            group = group.ask(method, "a.example", target, &[], "");
        }
    }
    group
}
