//! Passwords, compared with what user files have of them: `{PLAIN}`, `{SHA}`, `{SSHA}`, Apache's
//! `$apr1$`, and the forms of crypt(3): DES, `$1$`, `$5$`, `$6$`, bcrypt. Argon2 beyond nginx.
//!
//! Whatever is compared is compared in constant time. What is broken fits no password.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use md5::Md5;
use sha1::Sha1;
use sha2::Digest;
use subtle::ConstantTimeEq;

/// How a password is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Plain,
    Sha,
    SaltedSha,
    /// `$1$` and `$apr1$`, by what they begin with.
    Md5(&'static str),
    ShaCrypt,
    Bcrypt,
    Argon2,
    Des,
}

const FORMS: [(&str, Form); 14] = [
    ("{PLAIN}", Form::Plain),
    ("{SSHA}", Form::SaltedSha),
    ("{SHA}", Form::Sha),
    ("$apr1$", Form::Md5("$apr1$")),
    ("$1$", Form::Md5("$1$")),
    ("$5$", Form::ShaCrypt),
    ("$6$", Form::ShaCrypt),
    ("$2y$", Form::Bcrypt),
    ("$2b$", Form::Bcrypt),
    ("$2a$", Form::Bcrypt),
    ("$argon2id$", Form::Argon2),
    ("$argon2i$", Form::Argon2),
    ("$argon2d$", Form::Argon2),
    ("", Form::Des),
];

impl Form {
    /// As in nginx, case counts.
    fn of(kept: &str) -> (Self, &str) {
        let found = FORMS.iter().find_map(|(begin, form)| Some((*form, kept.strip_prefix(begin)?)));
        found.unwrap_or((Self::Des, kept))
    }
}

/// Whether comparing takes so long that nobody else should wait for it.
pub fn is_slow(kept: &str) -> bool {
    !matches!(Form::of(kept).0, Form::Plain | Form::Sha | Form::SaltedSha | Form::Des)
}

/// Whether a password is kept in a form that is understood.
pub fn is_understood(kept: &str) -> bool {
    match Form::of(kept) {
        (Form::Des, rest) => rest.len() == 13 && rest.bytes().all(is_salt),
        _ => true,
    }
}

/// Whether this is the password, whatever bytes are kept of it.
pub fn fits(password: &[u8], kept: &[u8]) -> bool {
    match std::str::from_utf8(kept) {
        Ok(kept) => is_right(password, kept),
        // A plain one may be in any character set; no other form is.
        Err(_) => kept.strip_prefix(b"{PLAIN}").is_some_and(|rest| password.ct_eq(rest).into()),
    }
}

fn is_right(password: &[u8], kept: &str) -> bool {
    // Where texts end with it, what follows would not count.
    if password.contains(&0) {
        return false;
    }
    let same = |computed: &[u8]| bool::from(computed.ct_eq(kept.as_bytes()));
    match Form::of(kept) {
        (Form::Plain, rest) => password.ct_eq(rest.as_bytes()).into(),
        (Form::Sha, rest) => {
            let computed = base64::engine::general_purpose::STANDARD.encode(Sha1::digest(password));
            computed.as_bytes().ct_eq(rest.as_bytes()).into()
        }
        (Form::SaltedSha, rest) => salted(password, rest),
        (Form::Md5(magic), rest) => same(md5_crypt(password, magic, rest).as_bytes()),
        (Form::ShaCrypt, _) => {
            use sha_crypt::PasswordVerifier;
            sha_crypt::ShaCrypt::default().verify_password(password, kept).is_ok()
        }
        (Form::Bcrypt, _) => bcrypt::verify(password, kept).unwrap_or(false),
        (Form::Argon2, _) => {
            use argon2::PasswordVerifier;
            argon2::Argon2::default().verify_password(password, kept).is_ok()
        }
        (Form::Des, _) => {
            // The shape first: what is shorter is no salt.
            is_understood(kept) && pwhash::unix_crypt::verify(password, kept)
        }
    }
}

fn is_salt(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/')
}

/// `{SSHA}`: SHA-1 of password and salt, and behind it the salt.
fn salted(password: &[u8], kept: &str) -> bool {
    const DIGEST: usize = 20;
    let Some(decoded) = decode(kept.as_bytes()) else { return false };
    let Some((digest, salt)) = decoded.split_at_checked(DIGEST) else { return false };
    let computed = Sha1::new().chain_update(password).chain_update(salt).finalize();
    computed.as_slice().ct_eq(digest).into()
}

/// Base64 as nginx reads it: padding may be missing, and nothing behind it counts.
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_allow_trailing_bits(true)
            .with_decode_padding_mode(DecodePaddingMode::RequireNone),
    );
    let end = text.iter().position(|byte| *byte == b'=').unwrap_or(text.len());
    LENIENT.decode(text.get(..end)?).ok()
}

/// Poul-Henning Kamp's crypt with MD5, and Apache's variant, which differ in `magic`.
fn md5_crypt(password: &[u8], magic: &str, rest: &str) -> String {
    const ROUNDS: usize = 1000;
    let salt = rest.split('$').next().unwrap_or_default();
    let salt = salt.get(..8).unwrap_or(salt);
    let inner = Md5::new().chain_update(password).chain_update(salt).chain_update(password);
    let inner = inner.finalize();
    let mut outer = Md5::new();
    outer.update(password);
    outer.update(magic);
    outer.update(salt);
    for left in (1..=password.len()).rev().step_by(16) {
        outer.update(&inner[..left.min(16)]);
    }
    let mut bits = password.len();
    while bits > 0 {
        let byte = if bits & 1 == 1 { 0 } else { password.first().copied().unwrap_or(0) };
        outer.update([byte]);
        bits >>= 1;
    }
    let mut last = outer.finalize();
    for round in 0..ROUNDS {
        let mut next = Md5::new();
        if round % 2 == 1 {
            next.update(password)
        } else {
            next.update(last)
        };
        if round % 3 != 0 {
            next.update(salt);
        }
        if round % 7 != 0 {
            next.update(password);
        }
        if round % 2 == 1 {
            next.update(last)
        } else {
            next.update(password)
        };
        last = next.finalize();
    }
    let mut text = format!("{magic}{salt}$");
    for [a, b, c] in [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]] {
        let group = u32::from(last[a]) << 16 | u32::from(last[b]) << 8 | u32::from(last[c]);
        push_64(&mut text, group, 4);
    }
    push_64(&mut text, last[11].into(), 2);
    text
}

fn push_64(text: &mut String, mut group: u32, letters: usize) {
    const LETTERS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    for _ in 0..letters {
        text.push(char::from(LETTERS[(group & 0x3f) as usize]));
        group >>= 6;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with `openssl passwd`, crypt(3), `htpasswd` and `argon2`.
    const KEPT: &[(&str, &str)] = &[
        ("secret", "$1$saltsalt$9xy1btjgzLYfb7hivXtC//"),
        ("secret", "$apr1$saltsalt$LrttParrLPdxvgutaSXWJ0"),
        ("secret", "$5$saltsalt$0IyaXrmV7.sGNS6tirgqHLqX/G.FBvgkYA.lpPdS5sA"),
        (
            "secret",
            "$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1",
        ),
        ("p", "$1$saltsalt$oVkV3EDq8KTkLj17vu4OM0"),
        ("p", "$apr1$saltsalt$DvQTBz1xHwXJP55FHhmOj."),
        ("p", "$5$saltsalt$/Ia0VGUvcTZlBslv/3JC.aadLMBB39sZz0PNMe/f7y5"),
        (
            "p",
            "$6$saltsalt$T8zzampJcN172f1r0kNFFiQGdtFquc5jnzebqomQxxdUNGG69JTP0XFkH2sFbHn4FG4SGRFsmj2vnmTApt5fI/",
        ),
        ("a longer password than sixteen bytes", "$1$saltsalt$H5tGA1bwjWH57Z1GTUFCr0"),
        ("a longer password than sixteen bytes", "$apr1$saltsalt$fQOsGdVFkAc33miSw81BR1"),
        (
            "a longer password than sixteen bytes",
            "$5$saltsalt$sDs3HFq1LyHOcXEVHlMVN74vN9OuURfwF0dNjnz4.S3",
        ),
        (
            "a longer password than sixteen bytes",
            "$6$saltsalt$TOCjQlG6FO..u8fpj4IDhe0g1KxG/M3WprINj9oEL/uDy3QrwzZwPfEPcvyBKNtL2vwP4dxiJbNIItE4Bbq1P/",
        ),
        ("pässword", "$1$saltsalt$QgbQ7EUpcKNQTLgSVL4qr/"),
        ("pässword", "$apr1$saltsalt$553eXAj/BD3irf9w9nutz/"),
        ("pässword", "$5$saltsalt$rQBvFGQx3u6doxkk7cvWbhhnhS2qa1.FI.tt6NGFH66"),
        (
            "pässword",
            "$6$saltsalt$rVIyJtXnL0mXUCLepstXWqeOv9JVyd7nOH8wn0BvOU5lCiAviUJLxXZ5CkPgq6XNTHV22yG4mV0IO9gqPL5WQ.",
        ),
        ("secret", "abNANd1rDfiNc"),
        ("good", "gorTndmry71eM"),
        (
            "secret",
            "$6$rounds=2000$saltsaltsaltsalt$9ZJMy05P0Bms4.sSwYHXsid/OgPwwislaa4O7oY2VNWCWXmvjINFzaO7PtsJ5Qvh7ZyH2DHjpLajMBS.0S0Cu1",
        ),
        ("secret", "$5$rounds=1234$s$bnN494Uu84nDQiBmq2pjqFljbnr28aiL/Y3x0X9rEuC"),
        ("secret", "$1$s$g6MVG540q1A9FJTwmPkOH0"),
        ("secret", "$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW"),
        ("secret", "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW"),
        ("secret", "$2a$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a"),
        ("secret", "{PLAIN}secret"),
        ("secret", "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="),
        ("secret", "{SSHA}gVK8WC9YyFT1gMsQHTGCgT3sSv5zYWx0"),
        ("secret", "{SSHA}5en6G6MezRroT3XKqkdPOmY/BfQ="),
        ("secret", "{SSHA}tCNGqyJLk/uvKpCa4vga5GB2gWoxMjM0NTY3OA=="),
        ("secret", "{SSHA}tCNGqyJLk/uvKpCa4vga5GB2gWoxMjM0NTY3OA"),
    ];

    #[test]
    fn each_form_knows_its_password() {
        for (password, kept) in KEPT {
            assert!(is_understood(kept), "{kept}");
            assert!(is_right(password.as_bytes(), kept), "{kept}");
            assert!(
                !is_right(format!("{password}x").as_bytes(), kept) || kept.len() == 13,
                "{kept}"
            );
            assert!(!is_right(b"", kept), "{kept}");
            assert!(!is_right(b"s\0ecret", kept), "{kept}");
        }
    }

    #[test]
    fn what_is_broken_fits_no_password() {
        for kept in [
            "",
            "x",
            "ab",
            "{SHA}",
            "{SSHA}",
            "{SSHA}AAAA",
            "{SSHA}====",
            "$1$",
            "$apr1$",
            "$5$",
            "$6$",
            "$6$$",
            "$2y$",
            "$2y$10$short",
            "$argon2id$",
            "$y$j9T$x$y",
            "{MD5}abc",
            "*",
            "!",
            "$1$aaaaaaaa$",
            "$6$rounds=5000$salt$",
            "\u{e9}\u{e9}\u{e9}",
        ] {
            for password in ["", "secret", "a"] {
                assert!(!is_right(password.as_bytes(), kept), "{kept} {password}");
            }
        }
        assert!(is_right(b"", "{PLAIN}") && !is_right(b"a", "{PLAIN}"));
        for kept in ["", "x", "$y$j9T$x$y", "{MD5}abc", "ab$abcdefghij"] {
            assert!(!is_understood(kept), "{kept}");
        }
    }

    #[test]
    fn base64_is_read_as_nginx_reads_it() {
        for (text, expected) in [
            ("YTpi", Some("a:b")),
            ("YTo=", Some("a:")),
            ("YTo", Some("a:")),
            ("YTo=garbage", Some("a:")),
            ("YTp", Some("a:")),
            ("YTpiY", None),
            ("Y Tpi", None),
            ("", Some("")),
        ] {
            assert_eq!(decode(text.as_bytes()).as_deref(), expected.map(str::as_bytes), "{text}");
        }
    }
}
