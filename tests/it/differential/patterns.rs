//! Patterns of PCRE that take backtracking, wherever a pattern may stand.

use super::group::Group;

pub fn groups() -> Vec<Group> {
    vec![locations(), scripts(), maps(), names(), dates()]
}

const PATHS: [&str; 16] = [
    "/",
    "/.git/config",
    "/.well-known/acme",
    "/a/.env",
    "/admin",
    "/admin/x",
    "/shop",
    "/shop.php",
    "/a.php5",
    "/img/a.jpg",
    "/img/a.min.js",
    "/img/a.js",
    "/aa/bb/aa",
    "/aa/bb/cc",
    "/x%20y.css",
    "/%ff",
];

fn locations() -> Group {
    let server = r"location ~ /\.(?!well-known) { return 403; }
        location ~* ^/(?!admin|img/)[a-z]+$ { return 200 'word $uri'; }
        location ~ ^/(\w+)/\w+/\1$ { return 200 'twice $1'; }
        location ~ (?<!\.min)\.js$ { return 200 'long'; }
        location ~ ^/(?>a+)(?<rest>.*)$ { return 200 'rest $rest'; }
        location ~ \.php(?=\d|$) { return 200 'php'; }
        location / { return 200 'other $uri'; }";
    Group::server("locations by patterns with look-around", server).gets(&PATHS)
}

fn scripts() -> Group {
    let server = r"if ($uri ~ ^/(?!shop)(.)(.*)$) { set $first $1; }
        if ($http_x !~* '^(?=.*\d)(?=.*[a-z]).{4,}$') { set $weak yes; }
        location / {
            rewrite ^/(?!img)(\w)\1/(.*)$ /doubled/$1/$2 last;
            rewrite ^/img/(?:(?!\.min).)*\.js$ /long.js break;
            return 200 '$uri first $first weak $weak';
        }
        location /doubled/ { return 200 'doubled $uri $is_args$args'; }";
    let group = Group::server("scripts with look-around", server).gets(&PATHS);
    ["abc", "abc1", "ABC1", "1234", "a1"]
        .iter()
        .fold(group, |group, value| group.get_with("/x", &[&format!("X: {value}")]))
}

fn maps() -> Group {
    let http = r"map $uri $kind { default none; ~^/(?!admin)(?<name>\w+)$ word-$name; ~*(?<=\.)(?<end>php)\d end-$end; }
        map $http_x $twice { ~^(.)(.)\2\1$ palindrome-$1$2; default no; }
        server { listen 127.0.0.1:{port}; return 200 '$kind $twice'; }";
    let group = Group::new("maps with look-around", http).gets(&PATHS);
    ["abba", "abab", "xyyx", ""]
        .iter()
        .fold(group, |group, value| group.get_with("/x", &[&format!("X: {value}")]))
}

fn names() -> Group {
    let http = r"server { listen 127.0.0.1:{port}; server_name ~^(?!www\.)(?<sub>[a-z]+)\.example$; return 200 'sub $sub'; }
        server { listen 127.0.0.1:{port} default_server; server_name _; return 200 'default'; }";
    let group = Group::new("names with look-around", http);
    ["a.example", "www.example", "www.www.example", "A.EXAMPLE", "x.y.example"]
        .iter()
        .fold(group, |group, host| group.ask("GET", host, "/", &[], ""))
}

/// Only their form is compared: the two are asked one after the other.
fn dates() -> Group {
    let day = r"^[A-Z][a-z]+day, \d\d-[A-Z][a-z]+-\d{4} \d\d:\d\d:\d\d (?<zone>[A-Z]+)$";
    let http = format!(
        r#"map $date_gmt $gmt {{ "~{day}" good-$zone; default $date_gmt; }}
        map $date_local $local {{ "~{day}" good-$zone; default $date_local; }}
        server {{ listen 127.0.0.1:{{port}}; return 200 '$gmt $local'; }}"#
    );
    Group::new("dates", http).get("/")
}
