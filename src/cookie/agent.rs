//! Browsers that misunderstand `SameSite=None`.
//!
//! After Chromium's list of known incompatible clients (chromium.org/updates/same-site): Chrome 51
//! to 66 and UC Browser before 12.13.2 drop such a cookie; on iOS 12, and in Safari and embedded
//! views on macOS 10.14, it is taken for `Strict`. Without the attribute all of them send the
//! cookie everywhere, which is what `None` asks for. The list is closed: later browsers know it.

use std::borrow::Cow;

use super::enforce::SameSite;
use super::pieces;
use super::response::{Attribute, AttributeKind};

/// Leaves `SameSite=None` out of a `Set-Cookie` field, for a browser that misunderstands it; with it go
/// the other `SameSite` attributes, which do not count.
///
/// This is for every cookie, whoever made it: the application, or we.
pub fn without_none(field: &[u8]) -> Cow<'_, [u8]> {
    let of = |piece: &[u8]| {
        let attribute = Attribute::read(piece);
        (attribute.kind == AttributeKind::SameSite).then(|| SameSite::read(attribute.value))
    };
    if pieces(field).skip(1).filter_map(of).last() != Some(Some(SameSite::None)) {
        return Cow::Borrowed(field);
    }
    let kept = pieces(field).enumerate().filter(|(at, piece)| *at == 0 || of(piece).is_none());
    Cow::Owned(kept.map(|(_, piece)| piece).collect::<Vec<_>>().join(&b';'))
}

/// Longer ones are cut: the parts that count stand at the beginning.
const LOOKED_AT: usize = 512;

/// Whether a browser understands `SameSite=None`, going by its `User-Agent`.
pub fn takes_same_site_none(user_agent: &[u8]) -> bool {
    let agent = String::from_utf8_lossy(&user_agent[..user_agent.len().min(LOOKED_AT)]);
    !takes_it_for_strict(&agent) && !drops_it(&agent)
}

/// The bug of WebKit in the systems of autumn 2018.
fn takes_it_for_strict(agent: &str) -> bool {
    match System::of(agent) {
        Some(System::Ios { major }) => major == 12,
        Some(System::Mac { major, minor }) => {
            (major, minor) == (10, 14) && (is_safari(agent) || is_embedded(agent))
        }
        None => false,
    }
}

/// Unknown values made the whole cookie invalid in an older version of the draft.
fn drops_it(agent: &str) -> bool {
    if let Some(version) = behind(agent, "UCBrowser/") {
        return numbers(version, '.') < [12, 13, 2];
    }
    chromium(agent).is_some_and(|major| (51..=66).contains(&major))
}

enum System {
    Ios { major: u32 },
    Mac { major: u32, minor: u32 },
}

impl System {
    fn of(agent: &str) -> Option<Self> {
        // Chromium's pattern wants WebKit: what does not use it does not have its bug.
        let (device, _) = behind(agent, "(")?.split_once(") AppleWebKit/")?;
        if device.starts_with("iP") {
            let [major, ..] = numbers(behind(behind(device, "; CPU ")?, "OS ")?, '_');
            Some(Self::Ios { major })
        } else if device.starts_with("Macintosh;") {
            let [major, minor, _] = numbers(behind(device, "Mac OS X ")?, '_');
            Some(Self::Mac { major, minor })
        } else {
            None
        }
    }
}

fn is_safari(agent: &str) -> bool {
    let safari = behind(agent, "Version/").is_some_and(|rest| rest.contains(" Safari/"));
    safari && chromium(agent).is_none()
}

/// A view inside another application names nothing behind WebKit.
fn is_embedded(agent: &str) -> bool {
    agent.starts_with("Mozilla/") && agent.ends_with("(KHTML, like Gecko)")
}

fn chromium(agent: &str) -> Option<u32> {
    let version = behind(agent, "Chrome/").or_else(|| behind(agent, "Chromium/"))?;
    let [major, ..] = numbers(version, '.');
    Some(major)
}

fn behind<'a>(text: &'a str, mark: &str) -> Option<&'a str> {
    text.split_once(mark).map(|(_, rest)| rest)
}

/// The first three numbers that a text begins with; 0 for those that are missing.
fn numbers(text: &str, separator: char) -> [u32; 3] {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != separator).unwrap_or(text.len());
    let mut parts = text[..end].split(separator).map(|part| part.parse().unwrap_or(0));
    std::array::from_fn(|_| parts.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: &str = "Mozilla/5.0 (Macintosh; Intel Mac OS X";
    const WEBKIT: &str = "AppleWebKit/605.1.15 (KHTML, like Gecko)";
    const BLINK: &str = "AppleWebKit/537.36 (KHTML, like Gecko)";
    const LINUX: &str = "Mozilla/5.0 (X11; Linux x86_64)";

    #[track_caller]
    fn check(agent: &str, expected: bool) {
        assert_eq!(takes_same_site_none(agent.as_bytes()), expected, "{agent}");
    }

    #[test]
    fn chrome_51_to_66_drop_it() {
        for (major, expected) in
            [(50, true), (51, false), (60, false), (66, false), (67, true), (80, true), (137, true)]
        {
            check(&format!("{LINUX} {BLINK} Chrome/{major}.0.2743.116 Safari/537.36"), expected);
            check(
                &format!(
                    "{LINUX} {BLINK} Ubuntu Chromium/{major}.0.1 Chrome/{major}.0.1 Safari/537.36"
                ),
                expected,
            );
            // A view in an application, and browsers made of Chromium.
            check(
                &format!(
                    "Mozilla/5.0 (Linux; Android 7.0; SM-G930V; wv) {BLINK} Version/4.0 \
                     Chrome/{major}.0.3359.158 Mobile Safari/537.36"
                ),
                expected,
            );
            check(
                &format!("{LINUX} {BLINK} Chrome/{major}.0.1 Safari/537.36 OPR/50.0.1"),
                expected,
            );
            // Chrome has no part in WebKit's bug.
            check(&format!("{MAC} 10_14_6) {BLINK} Chrome/{major}.0.1 Safari/537.36"), expected);
        }
        check(&format!("{LINUX} {BLINK} HeadlessChrome/60.0.3112.50 Safari/537.36"), false);
    }

    #[test]
    fn uc_browser_before_12_13_2_drops_it() {
        for (version, expected) in [
            ("11.5.0", false),
            ("12.12.9", false),
            ("12.13.1", false),
            ("12.13.2", true),
            ("12.13.2.1005", true),
            ("12.14.0", true),
            ("13.0.0", true),
        ] {
            check(
                &format!(
                    "Mozilla/5.0 (Linux; U; Android 8.0.0; en-US; Pixel) {BLINK} Version/4.0 \
                     Chrome/57.0.2987.108 UCBrowser/{version} Mobile Safari/537.36"
                ),
                expected,
            );
        }
    }

    #[test]
    fn every_browser_on_ios_12_takes_it_for_strict() {
        for (device, expected) in [
            ("iPhone; CPU iPhone OS 11_4_1 like Mac OS X", true),
            ("iPhone; CPU iPhone OS 12_0 like Mac OS X", false),
            ("iPhone; CPU iPhone OS 12_4_9 like Mac OS X", false),
            ("iPad; CPU OS 12_3_1 like Mac OS X", false),
            ("iPod touch; CPU iPhone OS 12_2 like Mac OS X", false),
            ("iPhone; CPU iPhone OS 13_0 like Mac OS X", true),
            ("iPhone; CPU iPhone OS 18_5 like Mac OS X", true),
        ] {
            check(
                &format!("Mozilla/5.0 ({device}) {WEBKIT} Version/12.1 Mobile/15E148 Safari/604.1"),
                expected,
            );
            check(
                &format!(
                    "Mozilla/5.0 ({device}) {WEBKIT} CriOS/80.0.3987.95 Mobile/15E148 Safari/604.1"
                ),
                expected,
            );
            check(&format!("Mozilla/5.0 ({device}) {WEBKIT} Mobile/15E148"), expected);
        }
    }

    #[test]
    fn safari_and_views_on_macos_10_14_take_it_for_strict() {
        for (version, expected) in
            [("10_13_6", true), ("10_14", false), ("10_14_6", false), ("10_15_7", true)]
        {
            check(&format!("{MAC} {version}) {WEBKIT} Version/12.1.2 Safari/605.1.15"), expected);
            check(&format!("{MAC} {version}) {WEBKIT}"), expected);
        }
        let firefox = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.14; rv:70.0) Gecko/20100101 \
                       Firefox/70.0";
        check(firefox, true);
    }

    #[test]
    fn same_site_none_is_left_out_of_a_field() {
        for (field, expected) in [
            ("a=b; Path=/; SameSite=None; Secure", "a=b; Path=/; Secure"),
            ("a=b; samesite = NONE", "a=b"),
            ("a=b; SameSite=None; Path=/;SameSite=none", "a=b; Path=/"),
            ("a=b;SameSite=None;", "a=b;"),
            // The last one counts.
            ("a=b; SameSite=None; SameSite=Lax", "a=b; SameSite=None; SameSite=Lax"),
            ("a=b; SameSite=Lax; SameSite=None; Path=/", "a=b; Path=/"),
            ("a=b; SameSite=Lax; Secure", "a=b; SameSite=Lax; Secure"),
            ("a=b; SameSite=Nonesuch", "a=b; SameSite=Nonesuch"),
            ("SameSite=None", "SameSite=None"),
            ("a=SameSite=None; Path=/", "a=SameSite=None; Path=/"),
        ] {
            let found = without_none(field.as_bytes());
            assert_eq!(String::from_utf8_lossy(&found), expected, "{field}");
        }
    }

    #[test]
    fn whatever_else_there_is_takes_it() {
        for agent in [
            "",
            "curl/8.5.0",
            "(",
            ") AppleWebKit/",
            "Chrome/",
            "Chrome/x",
            "UCBrowser",
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:128.0) Gecko/20100101 Firefox/128.0",
            "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        ] {
            check(agent, true);
        }
        assert!(takes_same_site_none(&[0xff; 9000]));
    }
}
