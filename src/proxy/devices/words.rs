//! The words of the page in the languages that it speaks.

use crate::wire::fields::Fields;

/// A language of the page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    #[default]
    English,
    German,
    Chinese,
}

/// What the page says.
pub(super) struct Words {
    /// BCP 47.
    pub tag: &'static str,
    pub title: &'static str,
    pub introduction: &'static str,
    pub this_device: &'static str,
    pub unknown_device: &'static str,
    /// Between a browser's name and a system's.
    pub on: &'static str,
    pub signed_in: &'static str,
    pub last_seen: &'static str,
    pub network: &'static str,
    pub sign_out: &'static str,
    pub sign_out_here: &'static str,
    pub sign_out_others: &'static str,
    pub ended: &'static str,
    pub truncated: &'static str,
    pub login_required: &'static str,
    pub no_such_session: &'static str,
    pub store_down: &'static str,
    pub refused: &'static str,
    pub back: &'static str,
    pub home: &'static str,
}

const ENGLISH: Words = Words {
    tag: "en",
    title: "Your devices",
    introduction: "You are signed in on these devices. End a session that you do not know, and change your password.",
    this_device: "This device",
    unknown_device: "Unknown device",
    on: " on ",
    signed_in: "Signed in",
    last_seen: "last seen",
    network: "network",
    sign_out: "Sign out",
    sign_out_here: "Sign out here",
    sign_out_others: "Sign out everywhere else",
    ended: "Done. Those sessions are over.",
    truncated: "There are more sessions than are shown.",
    login_required: "You are not signed in. Sign in to see your devices.",
    no_such_session: "This session is over already.",
    store_down: "That does not work just now. Please try again in a moment.",
    refused: "This request did not come from this page, so nothing was done.",
    back: "Back to your devices",
    home: "To the start page",
};

const GERMAN: Words = Words {
    tag: "de",
    title: "Ihre Geräte",
    introduction: "Auf diesen Geräten sind Sie angemeldet. Beenden Sie Sitzungen, die Sie nicht kennen, und ändern Sie dann Ihr Passwort.",
    this_device: "Dieses Gerät",
    unknown_device: "Unbekanntes Gerät",
    on: " auf ",
    signed_in: "Angemeldet",
    last_seen: "zuletzt gesehen",
    network: "Netz",
    sign_out: "Abmelden",
    sign_out_here: "Hier abmelden",
    sign_out_others: "Überall sonst abmelden",
    ended: "Erledigt. Diese Sitzungen sind beendet.",
    truncated: "Es gibt mehr Sitzungen, als hier gezeigt werden.",
    login_required: "Sie sind nicht angemeldet. Melden Sie sich an, um Ihre Geräte zu sehen.",
    no_such_session: "Diese Sitzung ist schon beendet.",
    store_down: "Das geht gerade nicht. Bitte versuchen Sie es gleich noch einmal.",
    refused: "Diese Anfrage kam nicht von dieser Seite. Es wurde nichts geändert.",
    back: "Zurück zu Ihren Geräten",
    home: "Zur Startseite",
};

const CHINESE: Words = Words {
    tag: "zh",
    title: "您的设备",
    introduction: "您已在以下设备上登录。如有不认识的会话，请将其结束并修改密码。",
    this_device: "当前设备",
    unknown_device: "未知设备",
    on: " · ",
    signed_in: "登录于",
    last_seen: "最近活动",
    network: "网络",
    sign_out: "退出登录",
    sign_out_here: "在此退出登录",
    sign_out_others: "退出其他所有设备",
    ended: "已完成，相关会话已结束。",
    truncated: "还有更多会话未显示。",
    login_required: "您尚未登录。请登录后查看您的设备。",
    no_such_session: "该会话已经结束。",
    store_down: "暂时无法操作，请稍后再试。",
    refused: "此请求并非来自本页面，未做任何更改。",
    back: "返回设备列表",
    home: "返回首页",
};

/// A stretch of time in whole units.
#[derive(Clone, Copy)]
enum Unit {
    Minute,
    Hour,
    Day,
}

impl Language {
    /// What the visitor prefers of what there is (RFC 9110 section 12.5.4); English where nothing fits.
    pub fn of(fields: &Fields) -> Self {
        let mut best = (Self::English, 0);
        for value in fields.all_named(b"accept-language") {
            for range in value.split(|byte| *byte == b',') {
                let Some((language, quality)) = read(range) else { continue };
                // Of equals the first counts.
                if quality > best.1 {
                    best = (language, quality);
                }
            }
        }
        best.0
    }

    /// BCP 47.
    pub fn tag(self) -> &'static str {
        self.words().tag
    }

    pub(super) fn words(self) -> &'static Words {
        match self {
            Self::English => &ENGLISH,
            Self::German => &GERMAN,
            Self::Chinese => &CHINESE,
        }
    }

    /// How long ago something was: `3 hours ago`.
    pub fn ago(self, secs: u64) -> String {
        let (count, unit) = match secs {
            0..60 => {
                return match self {
                    Self::English => "just now",
                    Self::German => "gerade eben",
                    Self::Chinese => "刚刚",
                }
                .to_owned();
            }
            60..3600 => (secs / 60, Unit::Minute),
            3600..86_400 => (secs / 3600, Unit::Hour),
            _ => (secs / 86_400, Unit::Day),
        };
        match self {
            Self::English => {
                let unit = match unit {
                    Unit::Minute => "minute",
                    Unit::Hour => "hour",
                    Unit::Day => "day",
                };
                format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
            }
            Self::German => {
                let unit = match (unit, count) {
                    (Unit::Minute, 1) => "Minute",
                    (Unit::Minute, _) => "Minuten",
                    (Unit::Hour, 1) => "Stunde",
                    (Unit::Hour, _) => "Stunden",
                    (Unit::Day, 1) => "Tag",
                    (Unit::Day, _) => "Tagen",
                };
                format!("vor {count} {unit}")
            }
            Self::Chinese => {
                let unit = match unit {
                    Unit::Minute => "分钟",
                    Unit::Hour => "小时",
                    Unit::Day => "天",
                };
                format!("{count} {unit}前")
            }
        }
    }
}

/// A range of `Accept-Language` and its weight in thousandths, where it is one of ours.
fn read(range: &[u8]) -> Option<(Language, u32)> {
    let mut parts = std::str::from_utf8(range).ok()?.split(';').map(str::trim);
    let primary = parts.next()?.split('-').next()?.to_ascii_lowercase();
    let language = match primary.as_str() {
        "en" => Language::English,
        "de" => Language::German,
        "zh" => Language::Chinese,
        _ => return None,
    };
    let quality = match parts.next() {
        None => 1000,
        Some(weight) => {
            let number: f64 = weight.strip_prefix("q=")?.parse().ok()?;
            // No larger ones are read, and none below.
            if (0.0..=1.0).contains(&number) { (number * 1000.0) as u32 } else { return None }
        }
    };
    Some((language, quality))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_visitor_chooses_the_language() {
        for (accepted, expected) in [
            (&[][..], Language::English),
            (&["de"], Language::German),
            (&["de-AT,de;q=0.9,en;q=0.8"], Language::German),
            (&["fr-FR,fr;q=0.9,zh-CN;q=0.5"], Language::Chinese),
            (&["zh-Hant;q=0.3, en;q=0.4"], Language::English),
            (&["EN;q=0.1", "De;q=0.2"], Language::German),
            (&["de;q=0"], Language::English),
            (&["de;q=7,zh;q=x,*"], Language::English),
            (&["deu"], Language::English),
            (&["en,de"], Language::English),
        ] {
            let fields: Vec<_> = accepted.iter().map(|it| ("accept-language", *it)).collect();
            assert_eq!(Language::of(&Fields::of(&fields)), expected, "{accepted:?}");
        }
    }

    #[test]
    fn how_long_ago_is_said_in_whole_units() {
        let all = [Language::English, Language::German, Language::Chinese];
        let said = |secs| all.map(|language| language.ago(secs));
        assert_eq!(said(59), ["just now", "gerade eben", "刚刚"]);
        assert_eq!(said(60), ["1 minute ago", "vor 1 Minute", "1 分钟前"]);
        assert_eq!(said(7300), ["2 hours ago", "vor 2 Stunden", "2 小时前"]);
        assert_eq!(said(86_400 * 3), ["3 days ago", "vor 3 Tagen", "3 天前"]);
    }
}
