//! The page on which users see where they are signed in, and end it: forms and no script.
//!
//! Pure, from what was answered. Whatever somebody else chose (names of browsers, networks) is escaped; the page
//! names nothing outside of itself, and its policy (CSP) lets it load nothing.

mod agent;
mod words;

use std::fmt::Write as _;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use self::agent::Agent;
pub use self::words::Language;
use self::words::Words;
use crate::clock::UnixMillis;
use crate::session::own::PATH;

const STYLE: &str = include_str!("devices/page.css");

/// What the page may do: show its own style and send its own forms.
pub static CONTENT_SECURITY_POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = STANDARD.encode(Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; form-action 'self'; base-uri 'none'; \
         frame-ancestors 'none'"
    )
});

/// A session as its page shows it.
#[derive(Clone, Copy, Debug)]
pub struct Device<'a> {
    pub id: &'a str,
    pub created: u64,
    pub last_seen: u64,
    pub authenticated: Option<u64>,
    pub network: Option<&'a str>,
    pub agent: Option<&'a str>,
    /// Whether it is the one that asks.
    pub current: bool,
}

/// What there is to say.
#[derive(Clone, Debug)]
pub enum Said<'a> {
    List {
        devices: Vec<Device<'a>>,
        truncated: bool,
        /// Some were ended just now.
        ended: bool,
    },
    LoginRequired,
    NoSuchSession,
    StoreDown,
    Refused,
}

/// The page.
pub fn page(said: &Said<'_>, language: Language, now: UnixMillis) -> String {
    let words = language.words();
    let mut body = String::new();
    match said {
        Said::List { devices, truncated, ended } => {
            list(&mut body, devices, language, now);
            let mut head = String::new();
            if *ended {
                let _ = writeln!(head, "<p class=\"said\" role=\"status\">{}</p>", words.ended);
            }
            let _ = writeln!(head, "<p>{}</p>", words.introduction);
            if *truncated {
                let _ = writeln!(head, "<p>{}</p>", words.truncated);
            }
            body.insert_str(0, &head);
        }
        Said::LoginRequired => problem(&mut body, words.login_required, "/", words.home),
        Said::NoSuchSession => problem(&mut body, words.no_such_session, PATH, words.back),
        Said::StoreDown => problem(&mut body, words.store_down, PATH, words.back),
        Said::Refused => problem(&mut body, words.refused, PATH, words.back),
    }
    let Words { tag, title, .. } = words;
    format!(
        "<!doctype html>\n<html lang=\"{tag}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>{title}</h1>\n{body}</main>\n</body>\n</html>\n"
    )
}

fn problem(out: &mut String, text: &str, link: &str, words: &str) {
    let _ = writeln!(
        out,
        "<p class=\"said wrong\" role=\"alert\">{text}</p>\n<p><a href=\"{link}\">{words}</a></p>"
    );
}

fn list(out: &mut String, devices: &[Device<'_>], language: Language, now: UnixMillis) {
    let words = language.words();
    out.push_str("<ul>\n");
    for device in devices {
        item(out, device, language, now);
    }
    out.push_str("</ul>\n");
    if devices.iter().any(|device| !device.current) {
        let _ = writeln!(
            out,
            "<form method=\"post\" action=\"{PATH}?others\"><button>{}</button></form>",
            words.sign_out_others
        );
    }
}

fn item(out: &mut String, device: &Device<'_>, language: Language, now: UnixMillis) {
    let words = language.words();
    let name = name(device.agent, words);
    let ago = |secs: u64| language.ago(now.as_secs().saturating_sub(secs));
    let _ = writeln!(out, "<li><div><h2>{}</h2>", escaped(&name));
    if device.current {
        let _ = writeln!(out, "<p class=\"here\">{}</p>", words.this_device);
    }
    let since = device.authenticated.unwrap_or(device.created);
    let _ = writeln!(
        out,
        "<p>{} {}, {} {}</p>",
        words.signed_in,
        ago(since),
        words.last_seen,
        ago(device.last_seen)
    );
    if let Some(network) = device.network {
        let _ = writeln!(out, "<p>{} {}</p>", words.network, escaped(network));
    }
    let label = if device.current { words.sign_out_here } else { words.sign_out };
    let _ = writeln!(
        out,
        "</div><form method=\"post\" action=\"{PATH}/{}\"><button aria-label=\"{label}: {}\">{label}</button>\
         </form></li>",
        escaped(device.id),
        escaped(&name)
    );
}

/// `Firefox on Windows`, or what it calls itself.
fn name(agent: Option<&str>, words: &Words) -> String {
    /// Longer ones say nothing more to anybody.
    const CHARACTERS_MAX: usize = 60;
    let Some(text) = agent.filter(|text| !text.is_empty()) else {
        return words.unknown_device.to_owned();
    };
    match Agent::read(text) {
        Agent { browser: Some(browser), system: Some(system) } => {
            format!("{browser}{}{system}", words.on)
        }
        Agent { browser: Some(one), system: None } | Agent { browser: None, system: Some(one) } => {
            one.to_owned()
        }
        Agent { browser: None, system: None } => text.chars().take(CHARACTERS_MAX).collect(),
    }
}

/// Text as it stands in HTML, in quoted attributes too.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            char if char.is_control() => out.push('\u{fffd}'),
            // They would turn what follows them around.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => out.push('\u{fffd}'),
            char => out.push(char),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    fn device(agent: &'static str, current: bool) -> Device<'static> {
        Device {
            id: "0123456789abcdef0123456789abcdef",
            created: NOW.as_secs() - 7200,
            last_seen: NOW.as_secs() - 60,
            authenticated: None,
            network: Some("192.0.2.0/24"),
            agent: Some(agent),
            current,
        }
    }

    fn listed(devices: Vec<Device<'_>>, language: Language) -> String {
        page(&Said::List { devices, truncated: false, ended: false }, language, NOW)
    }

    #[test]
    fn each_device_has_its_form() {
        let shown = listed(
            vec![device("Firefox/1 Linux", true), device("curl/8", false)],
            Language::English,
        );
        for part in [
            "<html lang=\"en\">",
            "<h2>Firefox on Linux</h2>",
            "<p class=\"here\">This device</p>",
            "Signed in 2 hours ago, last seen 1 minute ago",
            "network 192.0.2.0/24",
            "<form method=\"post\" action=\"/.well-known/cloakroom/sessions/0123456789abcdef0123456789abcdef\">",
            "<button aria-label=\"Sign out: curl\">Sign out</button>",
            "action=\"/.well-known/cloakroom/sessions?others\"",
        ] {
            assert!(shown.contains(part), "{part} is missing from\n{shown}");
        }
        let alone = listed(vec![device("curl/8", true)], Language::German);
        assert!(!alone.contains("?others") && alone.contains("Hier abmelden"), "{alone}");
        assert!(listed(vec![device("curl/8", true)], Language::Chinese).contains("您的设备"));
    }

    #[test]
    fn what_others_chose_is_text() {
        let shown = listed(
            vec![device("\"><script>alert(1)</script>\u{202e}&'", false)],
            Language::English,
        );
        assert!(!shown.contains("<script") && !shown.contains('\u{202e}'), "{shown}");
        assert!(
            shown.contains("&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;\u{fffd}&amp;&#39;")
        );
    }

    #[test]
    fn every_problem_has_words_and_a_way_on() {
        for language in [Language::English, Language::German, Language::Chinese] {
            for said in [Said::LoginRequired, Said::NoSuchSession, Said::StoreDown, Said::Refused] {
                let shown = page(&said, language, NOW);
                assert!(
                    shown.contains("role=\"alert\"") && shown.contains("<a href=\"/"),
                    "{shown}"
                );
            }
        }
        assert!(CONTENT_SECURITY_POLICY.starts_with("default-src 'none'; style-src 'sha256-"));
    }
}
