//! What is wrong with an application's cookies and logins, gathered from the log.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde_json::{Value, json};

use super::learned::Learned;
use super::line::Line;
use crate::cookie::finding::Finding;

/// Findings by policy, host and cookie.
#[derive(Clone, Debug, Default)]
pub(super) struct Gathered(BTreeMap<(String, String, String), OfCookie>);

#[derive(Clone, Debug, Default)]
struct OfCookie {
    findings: BTreeSet<String>,
    instead: Option<String>,
    /// At most one a minute is written.
    lines: usize,
}

impl Gathered {
    pub(super) fn add(&mut self, line: &Line) {
        if line.target != "cookies" {
            return;
        }
        let key = ["policy", "host", "cookie"].map(|name| line.text(name).to_owned());
        let of_cookie = self.0.entry(key.into()).or_default();
        of_cookie.lines += 1;
        of_cookie.findings.extend(line.text("findings").split(',').map(str::to_owned));
        if let Some(instead) = line.get("instead") {
            of_cookie.instead = Some(instead.to_owned());
        }
    }
}

/// What is told.
pub(super) struct Told {
    pub cookies: Vec<Cookie>,
    pub logins: Vec<Login>,
    /// Policy, and how often somebody was let in by nothing that was seen.
    pub unexplained: Vec<(String, usize)>,
}

pub(super) struct Cookie {
    pub policy: String,
    pub host: String,
    pub name: String,
    /// Attributes that `mode: harden` would add.
    pub lacks: Vec<String>,
    /// Why browsers drop it, or a part of it.
    pub dropped: Vec<&'static str>,
    /// What else is to be known.
    pub notes: Vec<&'static str>,
    pub instead: Option<String>,
    pub lines: usize,
}

pub(super) struct Login {
    pub policy: String,
    pub request: String,
    pub times: usize,
    pub unrotated: usize,
}

/// What a finding means, and whether a browser drops the cookie for it.
fn meaning(finding: &str) -> Option<(&'static str, bool)> {
    let finding = Finding::ALL.iter().find(|one| one.name() == finding)?;
    Some(match finding {
        Finding::ControlCharacter => ("dropped: a control character in it", true),
        Finding::Oversized => ("dropped: more than 4096 bytes", true),
        Finding::LongAttribute => ("an attribute of more than 1024 bytes is overlooked", true),
        Finding::NoneWithoutSecure => ("dropped: SameSite=None without Secure", true),
        Finding::PartitionedWithoutSecure => ("dropped: Partitioned without Secure", true),
        Finding::SecurePrefix => ("dropped: __Secure- without Secure", true),
        Finding::HostPrefix => ("dropped: __Host- without Secure or Path=/, or with Domain", true),
        Finding::ForeignDomain => ("dropped: a Domain that the host is not in", true),
        Finding::DomainDropped => {
            ("`prefix: host` would take its Domain away: other hosts lose it", false)
        }
        Finding::WouldChange => ("`mode: harden` would change it", false),
    })
}

impl Told {
    pub(super) fn new(gathered: &Gathered, learned: &Learned) -> Self {
        let cookies = gathered.0.iter().map(|((policy, host, name), found)| {
            let meanings: Vec<_> = found.findings.iter().filter_map(|one| meaning(one)).collect();
            let those = |wanted: bool| {
                meanings.iter().filter(move |(_, drops)| *drops == wanted).map(|(text, _)| *text)
            };
            Cookie {
                policy: policy.clone(),
                host: host.clone(),
                name: name.clone(),
                // The cookie as it would leave has what the application's lacks, and perhaps what it has.
                lacks: found.instead.iter().flat_map(|instead| attributes(instead)).collect(),
                dropped: those(true).collect(),
                notes: those(false).collect(),
                instead: found.instead.clone(),
                lines: found.lines,
            }
        });
        let logins = learned.0.iter().flat_map(|(policy, of_policy)| {
            let logins = of_policy.requests.iter().filter(|(_, seen)| seen.logins > 0);
            logins.map(|(request, seen)| Login {
                policy: policy.clone(),
                request: request.clone(),
                times: seen.logins,
                unrotated: seen.unrotated,
            })
        });
        let unexplained = learned.0.iter().filter(|(_, of_policy)| of_policy.unexplained > 0);
        Self {
            cookies: cookies.collect(),
            logins: logins.collect(),
            unexplained: unexplained.map(|(name, of)| (name.clone(), of.unexplained)).collect(),
        }
    }

    pub(super) fn json(&self) -> Value {
        let cookies = self.cookies.iter().map(|one| json!({
            "policy": one.policy, "host": one.host, "cookie": one.name, "should_have": one.lacks,
            "dropped": one.dropped, "notes": one.notes, "instead": one.instead, "lines": one.lines,
        }));
        let logins = self.logins.iter().map(|one| {
            json!({
                "policy": one.policy, "request": one.request, "logins": one.times,
                "identifier_unchanged": one.unrotated,
            })
        });
        let unexplained = self
            .unexplained
            .iter()
            .map(|(policy, times)| json!({ "policy": policy, "times": times }));
        json!({
            "cookies": cookies.collect::<Vec<_>>(),
            "logins": logins.collect::<Vec<_>>(),
            "let_in_by_nothing_seen": unexplained.collect::<Vec<_>>(),
        })
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |arguments: std::fmt::Arguments<'_>| {
            text.write_fmt(arguments).expect("a string takes what is written to it");
            text.push('\n');
        };
        if self.cookies.is_empty() && self.logins.is_empty() {
            line(format_args!("The log has no findings about cookies, and no logins."));
        }
        for one in &self.cookies {
            line(format_args!("{} {} ({})", one.host, one.name.escape_debug(), one.policy));
            for dropped in &one.dropped {
                line(format_args!("  browsers: {dropped}"));
            }
            for note in &one.notes {
                line(format_args!("  {note}"));
            }
            if let Some(instead) = &one.instead {
                line(format_args!("  instead: {}", instead.escape_debug()));
            }
        }
        for one in &self.logins {
            let Login { policy, request, times, unrotated } = one;
            line(format_args!(
                "{} ({policy}): {times} logins, {unrotated} left the identifier as it was",
                request.escape_debug()
            ));
        }
        for (policy, times) in &self.unexplained {
            line(format_args!(
                "{policy}: {times} times an identifier became somebody by nothing that the log shows"
            ));
        }
        text
    }
}

/// `Secure`, `HttpOnly`, `SameSite=Lax` of a cookie without its value.
fn attributes(field: &str) -> impl Iterator<Item = String> + '_ {
    field
        .split(';')
        .skip(1)
        .map(str::trim)
        .filter(|attribute| {
            let name = attribute.split('=').next().unwrap_or_default().to_ascii_lowercase();
            matches!(name.as_str(), "secure" | "httponly" | "samesite" | "partitioned")
        })
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::super::html;
    use super::*;

    const LINES: [&str; 3] = [
        "2026 WARN cookies: cookie policy=\"shop\" host=\"h\" cookie=\"<b>sid\" findings=\"none_without_secure,would_change\" instead=\"__Host-sid; Path=/; Secure; HttpOnly; SameSite=Lax\"",
        "2026 WARN cookies: cookie policy=\"shop\" host=\"h\" cookie=\"<b>sid\" findings=\"oversized\"",
        "2026 WARN cookies: cookie policy=\"shop\" host=\"h\" cookie=\"other\" findings=\"foreign_domain\"",
    ];

    fn told() -> Told {
        let (mut gathered, mut learned) = (Gathered::default(), Learned::default());
        let logins = [
            "2026 INFO learn: answer policy=\"shop\" method=\"GET\" path=\"/a\" status=401 session=aa next=aa",
            "2026 INFO learn: answer policy=\"shop\" method=\"POST\" path=\"/login\" status=302 location=\"/a\" session=aa next=aa",
            "2026 INFO learn: answer policy=\"shop\" method=\"GET\" path=\"/a\" status=200 session=aa next=aa",
        ];
        for line in LINES.iter().chain(&logins) {
            let line = Line::read(line).expect("a line");
            gathered.add(&line);
            learned.add(&line);
        }
        Told::new(&gathered, &learned)
    }

    #[test]
    fn cookies_have_what_they_lack_and_why_browsers_drop_them() {
        let told = told().json();
        let sid = &told["cookies"][0];
        assert_eq!(sid["should_have"], json!(["Secure", "HttpOnly", "SameSite=Lax"]));
        assert_eq!(sid["dropped"].as_array().map(Vec::len), Some(2), "{sid}");
        assert_eq!(sid["lines"], 2);
        assert_eq!(
            told["cookies"][1]["dropped"],
            json!(["dropped: a Domain that the host is not in"])
        );
        assert_eq!(
            told["logins"],
            json!([{ "policy": "shop", "request": "POST /login", "logins": 1, "identifier_unchanged": 1 }])
        );
    }

    #[test]
    fn the_page_is_self_contained_and_names_are_escaped() {
        let page = html::page(&told());
        assert!(page.contains("&lt;b&gt;sid") && !page.contains("<b>sid"), "{page}");
        assert!(!page.contains("http") && !page.contains("<script"), "{page}");
        assert!(page.contains("POST /login"), "{page}");
    }

    #[test]
    fn a_log_without_findings_says_so() {
        let told = Told::new(&Gathered::default(), &Learned::default());
        assert!(told.text().starts_with("The log has no findings"));
    }
}
