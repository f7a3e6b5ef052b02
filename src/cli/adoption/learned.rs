//! What traffic says about sessions: which request is a login, which a logout, which cookies identify.
//!
//! An identifier that was refused a page, or that came when others were, and that is given it later has become
//! somebody in between. The last request that could have done so, an unsafe one or one whose answer changed the
//! identifier, is taken for the login.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;

use super::line::Line;

/// Identifiers that are followed at a time; a log may have more.
const FOLLOWED_MAX: usize = 200_000;

/// `POST /login`
pub(super) type Request = String;

/// How a request was answered: status, and where it led.
type Answer = (String, Option<String>);

/// What a request was seen to do.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// All answers of it, and how often.
    answers: BTreeMap<Answer, usize>,
    /// Those that were followed by being somebody.
    pub logins: usize,
    successes: BTreeMap<Answer, usize>,
    /// Of these, the ones that left the identifier as it was.
    pub unrotated: usize,
    /// Followed by being nobody any more.
    logouts: usize,
}

/// What is known of a policy.
#[derive(Clone, Debug, Default)]
pub(super) struct OfPolicy {
    pub requests: BTreeMap<Request, Seen>,
    /// Pages that were refused to somebody.
    guarded: BTreeSet<String>,
    /// Cookies that were set, and how often they looked as if they identified.
    cookies: BTreeMap<String, (usize, usize)>,
    followed: HashMap<String, Followed>,
    /// Times that an identifier began to be answered differently, and nothing was a login.
    pub unexplained: usize,
    /// Login events of the audit trail; with these, requests are no guess.
    events: usize,
}

#[derive(Clone, Debug, Default)]
struct Followed {
    is_somebody: bool,
    refused: BTreeSet<String>,
    last: Option<(Request, Answer, bool)>,
}

/// All policies.
#[derive(Clone, Debug, Default)]
pub(super) struct Learned(pub BTreeMap<String, OfPolicy>);

impl Learned {
    /// Takes a line in. Says so where an identifier begins to be answered differently without a login.
    pub(super) fn add(&mut self, line: &Line) -> Option<String> {
        match line.target.as_str() {
            "learn" => self.0.entry(line.text("policy").to_owned()).or_default().answer(line),
            // In a vault the access line has the session; which policy's is not said.
            "access" if line.get("session").is_some() => {
                self.0.entry(line.text("host").to_owned()).or_default().answer(line)
            }
            "audit" => {
                self.event(line);
                None
            }
            _ => None,
        }
    }

    fn event(&mut self, line: &Line) {
        let is_login = matches!(line.text("event"), "login" | "moved");
        let (Some(session), true) = (line.get("session"), is_login) else { return };
        let of_host = self.0.entry(line.text("host").to_owned()).or_default();
        let mut followed =
            line.get("old").and_then(|old| of_host.followed.remove(old)).unwrap_or_default();
        followed.is_somebody |= line.text("event") == "login";
        of_host.events += usize::from(line.text("event") == "login");
        of_host.keep(session, followed);
    }
}

impl OfPolicy {
    fn answer(&mut self, line: &Line) -> Option<String> {
        let (method, path, status) = (line.text("method"), line.text("path"), line.text("status"));
        let location = line.get("location").map(|location| path_of(location).to_owned());
        let (before, after) = (
            line.get("session"),
            line.get("next").or(match line.target.as_str() {
                "access" => line.get("session"),
                _ => None,
            }),
        );
        for cookie in line.get("sets").into_iter().flat_map(|sets| sets.split(',')) {
            let entry = self.cookies.entry(cookie.trim_end_matches('*').to_owned()).or_default();
            entry.0 += 1;
            entry.1 += usize::from(cookie.ends_with('*'));
        }
        let mut followed = before.and_then(|id| self.followed.remove(id)).unwrap_or_default();
        let answer = (status.to_owned(), location.clone());
        let is_safe = matches!(method, "GET" | "HEAD" | "OPTIONS");
        let leads_away = location.as_deref().is_some_and(|location| location != path);
        let is_refused = matches!(status, "401" | "403")
            || matches!(status, "302" | "303" | "307") && leads_away && before == after;
        let mut said = None;
        if is_safe && is_refused {
            self.guarded.insert(path.to_owned());
            followed.refused.insert(path.to_owned());
            if followed.is_somebody {
                followed.is_somebody = false;
                if let Some((request, ..)) = followed.last.take() {
                    self.requests.entry(request).or_default().logouts += 1;
                }
            }
        } else if is_safe && status == "200" && !followed.is_somebody && after.is_some() {
            let is_new = followed.refused.contains(path) || self.guarded.contains(path);
            if is_new {
                said = self.becomes_somebody(&mut followed, path);
            }
        }
        let changes = before != after;
        if !is_safe || changes && before.is_some() && status != "200" {
            let request = format!("{method} {path}");
            let seen = self.requests.entry(request.clone()).or_default();
            *seen.answers.entry(answer.clone()).or_default() += 1;
            followed.last = Some((request, answer, changes));
        }
        if let Some(id) = after {
            self.keep(id, followed);
        } else if let Some((request, ..)) = followed.last.filter(|_| followed.is_somebody) {
            // The identifier was taken away.
            self.requests.entry(request).or_default().logouts += 1;
        }
        said
    }

    fn becomes_somebody(&mut self, followed: &mut Followed, path: &str) -> Option<String> {
        followed.is_somebody = true;
        followed.refused.clear();
        let Some((request, answer, rotated)) = followed.last.take() else {
            self.unexplained += 1;
            return Some(format!(
                "an identifier is given {path}, which it or others were refused, and no request of it could have been the login"
            ));
        };
        let seen = self.requests.entry(request.clone()).or_default();
        seen.logins += 1;
        seen.unrotated += usize::from(!rotated);
        *seen.successes.entry(answer).or_default() += 1;
        let how = if rotated { "under a new identifier" } else { "under the same identifier" };
        // With a vault a login has an event; this one had none.
        Some(format!(
            "an identifier begins to be answered differently at {path}, {how} and without a `login` event, after {request}"
        ))
    }

    fn keep(&mut self, id: &str, followed: Followed) {
        if self.followed.len() >= FOLLOWED_MAX {
            self.followed.clear();
        }
        self.followed.insert(id.to_owned(), followed);
    }
}

/// The path of a `Location`.
fn path_of(location: &str) -> &str {
    let rest = location
        .split_once("://")
        .map_or(location, |(_, rest)| rest.find('/').map_or("/", |slash| &rest[slash..]));
    rest.split(['?', '#']).next().unwrap_or(rest)
}

impl Seen {
    /// What only a failed attempt leads to: where none of its answers is a success's.
    fn failures(&self) -> impl Iterator<Item = &Answer> {
        self.answers.keys().filter(|answer| !self.successes.contains_key(*answer))
    }

    fn rule(&self, request: &str) -> String {
        let mut statuses: Vec<&str> =
            self.successes.keys().map(|(status, _)| status.as_str()).collect();
        statuses.dedup();
        let mut rule =
            format!("{{ request: {request}, success: {{ status: [{}]", statuses.join(", "));
        let failures: Vec<&Answer> = self.failures().collect();
        let is_told_apart = failures.iter().all(|(status, _)| !statuses.contains(&status.as_str()));
        let mut locations: Vec<_> =
            self.successes.keys().map(|(_, location)| location.as_deref()).collect();
        locations.dedup();
        let mut after = String::new();
        match (&failures[..], &locations[..]) {
            ([], [Some(only)]) => {
                write!(rule, ", location: {}", quoted(only)).expect("a string takes it");
                after = "   # no failed attempt was seen: try a wrong password".to_owned();
            }
            ([], _) => after = "   # no failed attempt was seen: try a wrong password".to_owned(),
            _ if is_told_apart => {}
            _ => {
                let led: BTreeSet<&str> =
                    failures.iter().filter_map(|(_, led)| led.as_deref()).collect();
                if let (Some(led), 1) = (led.first(), led.len()) {
                    write!(rule, " }}, failure: {{ location: {}", quoted(led))
                        .expect("a string takes it");
                } else {
                    after = "   # failed attempts look alike: add `failure`".to_owned();
                }
            }
        }
        format!("{rule} }} }}{after}")
    }
}

impl Learned {
    /// A policy and its rules, in YAML, with what they were taken from.
    pub(super) fn proposal(&self) -> String {
        let mut text = String::new();
        for (name, policy) in self.0.iter().filter(|(_, policy)| policy.has_anything()) {
            if text.is_empty() {
                text.push_str("# Proposed by what the log shows. Read each rule before you use it.\nsessions:\n");
            }
            policy.write(name, &mut text);
        }
        if text.is_empty() {
            text.push_str(
                "# The log shows nothing to learn from. Give a policy `mode: harden, report_only: true`, name the\n\
                 # cookies that may be the session's in `app_cookies`, and log in and out a few times.\n",
            );
        }
        text
    }
}

impl OfPolicy {
    fn has_anything(&self) -> bool {
        !self.cookies.is_empty() || self.requests.values().any(|seen| seen.logins > 0)
    }

    fn write(&self, name: &str, text: &mut String) {
        let mut line = |line: String| text.extend([line.as_str(), "\n"]);
        line(format!("  {}:", quoted(name)));
        let identify: Vec<&String> = self
            .cookies
            .iter()
            .filter(|(_, (_, marked))| *marked > 0)
            .map(|(name, _)| name)
            .collect();
        let names: Vec<String> = identify.iter().map(|name| quoted(name)).collect();
        if names.is_empty() {
            line("    app_cookies: []   # no cookie looks like an identifier: name the application's".to_owned());
        } else {
            line(format!("    app_cookies: [{}]", names.join(", ")));
        }
        let others: Vec<&str> = self
            .cookies
            .keys()
            .filter(|name| !identify.contains(name))
            .map(String::as_str)
            .collect();
        if !others.is_empty() {
            line(format!(
                "    # left out, for they identify nobody: {}",
                others.join(", ").replace('\n', " ")
            ));
        }
        let logins: Vec<_> = self.requests.iter().filter(|(_, seen)| seen.logins > 0).collect();
        if logins.is_empty() {
            line("    # login: no identifier was seen to become somebody".to_owned());
        } else {
            line("    login:".to_owned());
        }
        for (request, seen) in &logins {
            line(format!(
                "      # {} logins; {} left the identifier as it was",
                seen.logins, seen.unrotated
            ));
            line(format!("      - {}", seen.rule(&quoted_request(request))));
        }
        let logouts: Vec<_> =
            self.requests.iter().filter(|(_, seen)| seen.logouts > 0 && seen.logins == 0).collect();
        if !logouts.is_empty() {
            line("    logout:".to_owned());
        }
        for (request, _) in logouts {
            line(format!("      - {{ request: {} }}", quoted_request(request)));
        }
        if self.unexplained > 0 {
            line(format!(
                "    # {} times an identifier became somebody by nothing that the log shows",
                self.unexplained
            ));
        }
    }
}

/// Plain where that is no other YAML, else quoted.
fn quoted(text: &str) -> String {
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '_'))
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '.'));
    if is_plain { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

fn quoted_request(request: &str) -> String {
    let (method, path) = request.split_once(' ').unwrap_or(("", request));
    let is_plain = quoted(path) == path && quoted(method) == method;
    if is_plain { request.to_owned() } else { serde_json::Value::from(request).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(lines: &[&str]) -> (Learned, Vec<String>) {
        let mut learned = Learned::default();
        let mut said = Vec::new();
        for line in lines {
            let line = Line::read(&format!("2026 INFO {line}")).expect("a line");
            said.extend(learned.add(&line));
        }
        (learned, said)
    }

    /// `GET /account 302 /login aa bb`: before and after, `-` for none.
    fn line(text: &str) -> String {
        let words: Vec<&str> = text.split(' ').collect();
        let [method, path, status, location, before, after] = words[..] else { panic!("{text}") };
        let field = |name: &str, value: &str| match value {
            "-" => String::new(),
            value => format!(" {name}={value}"),
        };
        format!(
            "learn: answer policy=\"shop\" host=\"h\" method=\"{method}\" path=\"{path}\" status={status}{}{}{}",
            field("location", location),
            field("session", before),
            field("next", after),
        )
    }

    fn learned_of(texts: &[&str]) -> (Learned, Vec<String>) {
        let lines: Vec<String> = texts.iter().map(|text| line(text)).collect();
        learned(&lines.iter().map(String::as_str).collect::<Vec<_>>())
    }

    #[test]
    fn a_login_is_what_lets_an_identifier_in() {
        let (learned, said) = learned_of(&[
            "GET / 200 - - aa",
            "GET /account 302 /login aa aa",
            "POST /login 302 /login aa aa",
            "POST /login 302 /account aa aa",
            "GET /account 200 - aa aa",
            "POST /logout 302 / aa aa",
            "GET /account 302 /login aa aa",
        ]);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(
            said[0].contains("under the same identifier") && said[0].ends_with("after POST /login"),
            "{said:?}"
        );
        let proposal = learned.proposal();
        for part in [
            "- { request: POST /login, success: { status: [302] }, failure: { location: /login } }",
            "# 1 logins; 1 left the identifier as it was",
            "    logout:\n      - { request: POST /logout }",
        ] {
            assert!(proposal.contains(part), "{part} is missing from\n{proposal}");
        }
    }

    #[test]
    fn a_login_that_changes_the_identifier_is_followed() {
        let (learned, said) = learned_of(&[
            "GET /account 401 - - -",
            "POST /api/session 200 - aa bb",
            "GET /account 200 - bb bb",
            "POST /api/session 403 - cc cc",
        ]);
        assert_eq!(said.len(), 1, "{said:?}");
        let seen = &learned.0["shop"].requests["POST /api/session"];
        assert_eq!((seen.logins, seen.unrotated), (1, 0));
        assert!(
            learned.proposal().contains("success: { status: [200] } }\n"),
            "{}",
            learned.proposal()
        );
    }

    #[test]
    fn who_is_let_in_by_nothing_that_is_seen_is_told() {
        let (learned, said) =
            learned_of(&["GET /account 302 /login aa aa", "GET /account 200 - aa aa"]);
        assert_eq!(learned.0["shop"].unexplained, 1);
        assert!(said[0].contains("no request of it could have been the login"), "{said:?}");
    }

    #[test]
    fn in_a_vault_a_login_event_explains_it() {
        let refused =
            "access: request method=\"GET\" host=\"h\" path=\"/account\" status=401 session=aa..";
        let given =
            "access: request method=\"GET\" host=\"h\" path=\"/account\" status=200 session=bb..";
        let event = "audit: session event=\"login\" host=\"h\" old=aa.. session=bb..";
        assert_eq!(learned(&[refused, event, given]).1, Vec::<String>::new());
        assert_eq!(learned(&[refused, given]).1.len(), 1);
    }

    #[test]
    fn cookies_that_identify_are_proposed_and_names_are_data() {
        let mark = "learn: answer policy=\"a: b\" host=\"h\" method=\"GET\" path=\"/\" status=200 next=aa sets=\"sid*,theme,x y*\"";
        let (learned, _) = learned(&[mark]);
        let proposal = learned.proposal();
        assert!(proposal.contains("  \"a: b\":\n    app_cookies: [sid, \"x y\"]\n"), "{proposal}");
        assert!(proposal.contains("identify nobody: theme"), "{proposal}");
    }
}
