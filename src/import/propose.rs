//! A session policy for the cookies that an application sets: a proposal in comments, which whoever knows the
//! application takes over. Nothing of it is in force.

use std::fmt::Write as _;

use crate::cookie::enforce::READ_BY_SCRIPT;
use crate::cookie::response::SetCookie;

/// What a cookie is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A session's, of this framework's where its name or its value tells.
    Session(Option<&'static str>),
    /// What a page reads, or a setting of a visitor's.
    Other,
}

/// Session cookies by their names.
const NAMES: [(&str, &str); 20] = [
    ("EGG_SESS", "Egg"),
    ("connect.sid", "express-session"),
    ("koa.sess", "Koa"),
    ("koa:sess", "Koa"),
    ("sessionid", "Django"),
    ("PHPSESSID", "PHP"),
    ("JSESSIONID", "a servlet container"),
    ("SESSION", "Spring Session"),
    ("ASP.NET_SessionId", "ASP.NET"),
    (".AspNetCore.Session", "ASP.NET Core"),
    (".AspNetCore.Cookies", "ASP.NET Core"),
    ("laravel_session", "Laravel"),
    ("ci_session", "CodeIgniter"),
    ("CAKEPHP", "CakePHP"),
    ("rack.session", "Rack"),
    ("session_id", "Odoo"),
    ("grafana_session", "Grafana"),
    ("sentrysid", "Sentry"),
    ("next-auth.session-token", "NextAuth"),
    ("authjs.session-token", "Auth.js"),
];

/// A policy, in comments, for what an application at `url` sets; and what was found out about it.
pub fn policy(url: &str, fields: &[&[u8]]) -> String {
    let cookies: Vec<SetCookie<'_>> =
        fields.iter().filter_map(|field| SetCookie::parse(field)).collect();
    let mut sessions: Vec<(String, Option<&'static str>)> = Vec::new();
    let mut others: Vec<String> = Vec::new();
    for cookie in &cookies {
        let Some(name) = shown(cookie.name()) else { continue };
        match kind(cookie) {
            Kind::Session(framework) => sessions.push((name, framework)),
            Kind::Other => others.push(name),
        }
    }
    // A signature belongs to what it signs.
    let signs = |name: &String| {
        name.strip_suffix(".sig").is_some_and(|of| sessions.iter().any(|(it, _)| it == of))
    };
    let (signatures, others): (Vec<String>, Vec<String>) = others.into_iter().partition(signs);
    let mut text = String::new();
    let _ = match sessions.as_slice() {
        [] => nothing(&mut text, url, !cookies.is_empty()),
        sessions => proposal(&mut text, url, sessions, &signatures),
    };
    if !others.is_empty() {
        let _ = writeln!(text, "# Not a session's, by their looks: {}.", others.join(", "));
    }
    text
}

fn nothing(text: &mut String, url: &str, sets_any: bool) -> std::fmt::Result {
    let what = if sets_any { "no cookie that looks like a session's" } else { "no cookie" };
    writeln!(text, "# {url} sets {what}. Many applications set one at log-in only: probe a page")?;
    writeln!(text, "# that needs it, or write `sessions:` yourself (config/examples/).")
}

fn proposal(
    text: &mut String,
    url: &str,
    sessions: &[(String, Option<&'static str>)],
    signatures: &[String],
) -> std::fmt::Result {
    let names = sessions.iter().map(|(name, _)| name).chain(signatures);
    let quoted: Vec<String> = names.map(|name| format!("\"{name}\"")).collect();
    writeln!(
        text,
        "# Proposed from the cookies that {url} sets. It is in force once the `#` before"
    )?;
    writeln!(
        text,
        "# its lines are gone and the application's routes, or their server, have `session: app`."
    )?;
    for (name, framework) in sessions {
        match framework {
            Some(framework) => writeln!(text, "# {name} is the session cookie of {framework}.")?,
            None => writeln!(
                text,
                "# {name} only looks like a session cookie: make sure that it is one."
            )?,
        }
    }
    writeln!(text, "#sessions:\n#  app:\n#    app_cookies: [{}]", quoted.join(", "))?;
    writeln!(text, "#    # Which request logs in, so that its answer gets a new ticket:")?;
    writeln!(text, "#    # login: [{{ request: POST /login, success: {{ status: [302] }} }}]")?;
    writeln!(text, "#    # logout: [{{ request: POST /logout }}]")
}

/// What a cookie looks like. Its value is looked at, and shown nowhere.
fn kind(cookie: &SetCookie<'_>) -> Kind {
    let (name, value) = (cookie.name(), cookie.value());
    let bare = name.strip_prefix(b"__Host-").or_else(|| name.strip_prefix(b"__Secure-"));
    let bare = bare.unwrap_or(name);
    if let Some((_, framework)) = NAMES.iter().find(|(known, _)| known.as_bytes() == bare) {
        return Kind::Session(Some(framework));
    }
    if READ_BY_SCRIPT.iter().any(|known| known.as_bytes() == bare) || bare.ends_with(b".sig") {
        return Kind::Other;
    }
    let lower = bare.to_ascii_lowercase();
    if bare == b"session" {
        // Flask's own holds a signed text, its server-side one an identifier.
        return Kind::Session(Some("Flask"));
    }
    if lower.starts_with(b"_") && lower.ends_with(b"_session") {
        return Kind::Session(Some("Rails"));
    }
    if value.starts_with(b"s%3A") || value.starts_with(b"s:") {
        return Kind::Session(Some("express-session"));
    }
    let has = |part: &[u8]| lower.windows(part.len()).any(|window| window == part);
    let is_named = has(b"sess") || has(b"sid") || has(b"auth") || has(b"token") || has(b"login");
    let is_csrf = has(b"csrf") || has(b"xsrf");
    if is_named && !is_csrf && cookie.http_only() && value.len() >= 16 {
        return Kind::Session(None);
    }
    Kind::Other
}

/// A name that can stand in a comment and in quotes.
fn shown(name: &[u8]) -> Option<String> {
    let fits = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
    let name = std::str::from_utf8(name).ok().filter(|name| name.bytes().all(|byte| fits(&byte)));
    name.filter(|name| !name.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::environment::Environment;
    use crate::config::parse;

    #[track_caller]
    fn check(fields: &[&str], expected: Option<&str>, says: &[&str]) {
        let bytes: Vec<&[u8]> = fields.iter().map(|field| field.as_bytes()).collect();
        let text = policy("http://127.0.0.1:7001/", &bytes);
        let line = text.lines().find_map(|line| line.strip_prefix("#    app_cookies: "));
        assert_eq!(line, expected, "{text}");
        for part in says {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert!(text.lines().all(|line| line.starts_with('#')), "{text}");
        for field in fields {
            let value = field.split(['=', ';']).nth(1).unwrap_or_default();
            assert!(value.len() < 8 || !text.contains(value), "a value is shown: {text}");
        }
    }

    #[test]
    fn sessions_are_told_by_what_frameworks_set() {
        check(
            &[
                "EGG_SESS=h_2zo7359vTW8w5FKe7WgMEX; path=/; httponly",
                "EGG_SESS.sig=UZ8ZET2zc_JZ; path=/",
                "csrfToken=yX-Q5CKNbe2I; path=/",
            ],
            Some("[\"EGG_SESS\", \"EGG_SESS.sig\"]"),
            &[
                "EGG_SESS is the session cookie of Egg",
                "Not a session's, by their looks: csrfToken.",
            ],
        );
        for (field, name, framework) in [
            (
                "connect.sid=s%3AvarZacGKzNsN.54LI; Path=/; HttpOnly",
                "connect.sid",
                "express-session",
            ),
            ("mine=s%3AvarZacGKzNsNZyM.54LI; Path=/; HttpOnly", "mine", "express-session"),
            ("sessionid=cwehxuhmme6kj94adstmu718; HttpOnly", "sessionid", "Django"),
            ("PHPSESSID=qie3pnev2vt5dkdve1esuh6i0h; path=/", "PHPSESSID", "PHP"),
            ("_app_session=a8d1cbd4208562c4f3ba; path=/", "_app_session", "Rails"),
            ("JSESSIONID=node01abcdefgh.node0; Path=/", "JSESSIONID", "a servlet container"),
            ("__Host-session=eyJhIjoxfQ.aaaaaaaa.bbbb; Path=/; Secure", "__Host-session", "Flask"),
        ] {
            let says = format!("{name} is the session cookie of {framework}.");
            check(&[field], Some(&format!("[\"{name}\"]")), &[&says]);
        }
    }

    #[test]
    fn what_only_looks_like_one_is_told_apart() {
        check(
            &["my_auth=0123456789abcdef0; HttpOnly"],
            Some("[\"my_auth\"]"),
            &["only looks like"],
        );
        check(&["my_auth=0123456789abcdef0"], None, &["no cookie that looks like", "my_auth"]);
        check(&["theme=dark; Path=/"], None, &["Not a session's, by their looks: theme."]);
        check(&["XSRF-TOKEN=0123456789abcdef0; HttpOnly"], None, &["XSRF-TOKEN"]);
        check(&[], None, &["sets no cookie."]);
        check(&["a\"b_session=x", "\u{7}=x"], None, &["sets no cookie"]);
    }

    /// Whoever takes the `#` away has a configuration.
    #[test]
    fn a_proposal_is_a_policy() {
        let text = policy("http://a/", &[b"PHPSESSID=qie3pnev2vt5dkdve1esuh6i0h; path=/"]);
        let taken = text.lines().filter_map(|line| line.strip_prefix('#'));
        let taken = taken.filter(|line| line.starts_with("sessions:") || line.starts_with("  "));
        let taken: Vec<String> = taken.map(|line| line.replace("    # log", "    log")).collect();
        let yaml = format!(
            "insecure_cookies: true\nlisteners: [{{ address: '127.0.0.1:80' }}]\nupstreams: {{ app: {{ endpoints: \
             [{{ address: '127.0.0.1:81' }}] }} }}\n{}\nservers: [{{ names: [a], session: app, routes: [{{ path: /, \
             upstream: app }}] }}]\n",
            taken.join("\n")
        );
        let environment = Environment::of_process();
        let parsed = parse(&yaml, "proposed.yaml", &environment);
        assert!(
            parsed.is_ok(),
            "{yaml}\n{}",
            parsed.err().map(|it| it.to_string()).unwrap_or_default()
        );
    }
}
