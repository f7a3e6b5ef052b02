//! Telling a ticket from what a sloppy reader would take for one.
//!
//! Browsers guard `__Host-` and `__Secure-` by the bytes of a name. Whoever reads names less
//! literally can be given an unguarded cookie under another spelling, planted from a sibling
//! domain: `\u{2000}__Host-sid` (servers that trim Unicode white space), `__%48ost-sid` (servers
//! that decode names), `..Host-sid` (PHP writes `_` for `.`), a nameless cookie whose value is
//! `__Host-sid=…`, `$Version=1,__Host-sid=…` (RFC 2109 readers split at commas), `a=b __Host-sid=…`
//! (Python's at blanks, WebOb at almost anything). A worker must see none of these, and they are worth a
//! count: nobody sends them by accident.
//!
//! So a name may begin after whatever no name has, and ends at every `=`. That is more than any one
//! reader takes; what is lost by it is a cookie whose value holds the session's very name and `=`.

use super::request::Pair;

/// How close a cookie comes to the ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Likeness {
    /// The very name, byte for byte.
    Same,
    /// Another spelling that somebody could read as the ticket, or as a cookie with a guarded
    /// prefix that no browser has guarded.
    Lookalike,
    Other,
}

/// Compares a cookie with the ticket's whole name (`__Host-shop`).
///
/// A cookie that carries a guarded prefix openly, under another name, is [`Likeness::Other`]:
/// applications have such cookies too.
pub fn likeness(pair: &Pair<'_>, ticket_name: &[u8]) -> Likeness {
    let Pair { raw, name, value, is_plain } = *pair;
    if name == ticket_name {
        return Likeness::Same;
    }
    if is_plain {
        let planted = may_read(name, ticket_name) && reads_exactly(name, ticket_name);
        return if planted { Likeness::Lookalike } else { Likeness::Other };
    }
    let planted = reads_as(name, ticket_name)
        || (is_disguised(name) && is_guarded(name))
        || (name.is_empty() && {
            let leading = until(value, b'=');
            reads_as(leading, ticket_name) || is_guarded(leading)
        })
        || inner_names(raw).any(|inner| reads_exactly(inner, ticket_name));
    if planted { Likeness::Lookalike } else { Likeness::Other }
}

/// Whether some reader takes a cookie for one that is named `pattern`, of which a trailing `*`
/// matches any rest: what a vault keeps must not come from outside in any spelling.
pub fn passes_for(pair: &Pair<'_>, pattern: &[u8]) -> bool {
    let Pair { raw, name, value, is_plain } = *pair;
    let reads = |name: &[u8]| match pattern.strip_suffix(b"*") {
        Some(start) => begins_as(name, start),
        None => reads_as(name, pattern),
    };
    if is_plain {
        return may_read(name, pattern.strip_suffix(b"*").unwrap_or(pattern)) && reads(name);
    }
    reads(name)
        || (name.is_empty() && reads(until(value, b'=')))
        || inner_names(raw).any(|inner| match pattern.strip_suffix(b"*") {
            Some(start) => begins_as(inner, start),
            None => reads_exactly(inner, pattern),
        })
}

/// Whether no reader sees another name in a cookie than its own, in whatever case of letters: nothing in
/// it separates or is decoded in the name. Most cookies are so, and are not looked through for each name
/// that is guarded.
pub fn is_plain(raw: &[u8], name: &[u8], value: &[u8]) -> bool {
    let separates = |byte: &u8| *byte <= b' ' || matches!(byte, b'=' | b',');
    // To the end, whatever is found: many bytes are looked at at once then.
    let is_whole = |value: &[u8]| !value.iter().fold(false, |found, byte| found | separates(byte));
    !name.is_empty()
        && raw.len() == name.len() + 1 + value.len()
        && name.iter().all(|byte| is_letter(*byte))
        && is_whole(value)
}

/// What every reader reads as it stands, but for its case.
fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

/// `false`: no reader takes this plain name for `wanted`, or for one that begins so. Most names differ within
/// their first bytes.
fn may_read(name: &[u8], wanted: &[u8]) -> bool {
    let mut letters = name.iter().zip(wanted).take_while(|(_, wanted)| is_letter(**wanted));
    letters.all(|(byte, wanted)| byte.eq_ignore_ascii_case(wanted))
}

/// Where some reader may see a name inside a cookie: in front of every `=`, from whatever follows a
/// byte that no name has (RFC 9110 section 5.6.2) or a date, which ends a value by itself for WebOb; and
/// words between blanks and commas, which aiohttp takes for cookies without a value.
///
/// Each slice ends where its name would. Most cookies have none, and are only looked through.
fn inner_names(raw: &[u8]) -> impl Iterator<Item = &[u8]> {
    let last = raw.iter().rposition(|byte| *byte == b'=').unwrap_or(0);
    let named = raw.get(..last).unwrap_or_default();
    let names = named.split(|byte| *byte == b'=').enumerate().flat_map(|(number, segment)| {
        let begins = move |at: &usize| {
            let before = at.checked_sub(1).and_then(|before| segment.get(before));
            segment.get(*at).is_some_and(|byte| is_name_byte(*byte))
                && (before.map_or(number > 0, |byte| !is_name_byte(*byte))
                    || segment.get(..*at).is_some_and(ends_with_date))
        };
        (0..segment.len()).filter(begins).filter_map(|at| segment.get(at..))
    });
    let is_blank = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b',' | 0x0b);
    names.chain(raw.split(is_blank))
}

/// As dates in cookies end: ` GMT`.
fn ends_with_date(bytes: &[u8]) -> bool {
    matches!(bytes, [.., blank, b'G', b'M', b'T'] if blank.is_ascii_whitespace())
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether some reader takes `name` for `wanted`, to its last byte.
fn reads_exactly(name: &[u8], wanted: &[u8]) -> bool {
    let mut readers = [Reader::Trimming, Reader::Php].into_iter();
    readers.any(|reader| reader.read(name).eq(reader.read(wanted)))
}

/// Whether some reader takes `name` for `ticket_name`.
fn reads_as(name: &[u8], ticket_name: &[u8]) -> bool {
    // PHP makes an array `a` of a cookie named `a[b]`.
    [name, until(name, b'[')].into_iter().any(|name| reads_exactly(name, ticket_name))
}

/// Whether some reader sees a guarded prefix.
fn is_guarded(name: &[u8]) -> bool {
    [&b"__host-"[..], b"__secure-"].into_iter().any(|prefix| begins_as(name, prefix))
}

/// Whether some reader takes the beginning of `name` for `start`.
fn begins_as(name: &[u8], start: &[u8]) -> bool {
    [Reader::Trimming, Reader::Php].into_iter().any(|reader| {
        let mut read = reader.read(name);
        reader.read(start).all(|byte| read.next() == Some(byte))
    })
}

/// Whether a name does not begin as a browser's guarded prefixes do (in any case of letters).
fn is_disguised(name: &[u8]) -> bool {
    ![&b"__host-"[..], b"__secure-"].into_iter().any(|prefix| {
        name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    })
}

/// How sloppy readers read a name. All of them decode `%xx` and fold ASCII case.
#[derive(Clone, Copy)]
enum Reader {
    /// Overlooks everything that is not printable ASCII, and quotes.
    Trimming,
    /// Writes `_` for what cannot be in a variable's name.
    Php,
}

impl Reader {
    fn read(self, name: &[u8]) -> Reading<'_> {
        Reading { rest: name, reader: self, begun: false }
    }
}

struct Reading<'a> {
    rest: &'a [u8],
    reader: Reader,
    begun: bool,
}

impl Iterator for Reading<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        loop {
            let byte = self.decoded()?.to_ascii_lowercase();
            match (self.reader, byte) {
                (Reader::Trimming, 0..=b' ' | 0x7f.. | b'"' | b'\'') => {}
                (Reader::Php, b' ' | b'\t'..=b'\r') if !self.begun => {}
                (Reader::Php, b' ' | b'.' | b'[' | b'+') => {
                    self.begun = true;
                    return Some(b'_');
                }
                (_, byte) => {
                    self.begun = true;
                    return Some(byte);
                }
            }
        }
    }
}

impl Reading<'_> {
    /// The next byte, with `%xx` decoded, also where it is encoded several times over.
    fn decoded(&mut self) -> Option<u8> {
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        let mut byte = first;
        while byte == b'%' {
            let Some(([high, low], rest)) = self.rest.split_first_chunk() else { break };
            let (Some(high), Some(low)) = (hex_digit(*high), hex_digit(*low)) else { break };
            self.rest = rest;
            byte = high << 4 | low;
        }
        Some(byte)
    }
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

fn until(bytes: &[u8], end: u8) -> &[u8] {
    bytes.split(|byte| *byte == end).next().unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::request::pairs;
    use super::Likeness::{Lookalike, Other, Same};
    use super::*;

    /// Checks the one cookie of a field against the ticket `__Host-shop`.
    #[track_caller]
    fn check(field: impl AsRef<[u8]>, expected: Likeness) {
        let field = field.as_ref();
        let pair = pairs(field).next().expect("a cookie");
        let found = likeness(&pair, b"__Host-shop");
        assert_eq!(found, expected, "{}", field.escape_ascii());
    }

    #[test]
    fn only_the_very_bytes_are_the_ticket() {
        check("__Host-shop=t", Same);
        check(" __Host-shop = t", Same);
        check("__Host-shop=", Same);
        check("__Host-shop=a,__Host-shop=b", Same);
    }

    #[test]
    fn letters_in_another_case() {
        check("__host-shop=t", Lookalike);
        check("__HOST-SHOP=t", Lookalike);
        check("__Host-Shop=t", Lookalike);
    }

    #[test]
    fn surrounded_by_what_servers_trim() {
        for space in [
            "\u{b}", "\u{c}", "\r", "\n", "\0", "\x1c", "\x1f", "\x7f", "\u{85}", "\u{a0}",
            "\u{1680}", "\u{2000}", "\u{2003}", "\u{200a}", "\u{200b}", "\u{2028}", "\u{2029}",
            "\u{202f}", "\u{205f}", "\u{2060}", "\u{3000}", "\u{feff}", "\"", "'",
        ] {
            check(format!("{space}__Host-shop=t"), Lookalike);
            check(format!("__Host-shop{space}=t"), Lookalike);
            check(format!("{space} {space}__Host-shop{space}=t"), Lookalike);
            check(format!("{space}__Secure-other=t"), Lookalike);
        }
        // The same characters in Latin-1, one byte each.
        check(b"\x85__Host-shop=t", Lookalike);
        check(b"\xa0__Host-shop=t", Lookalike);
        check(b"__Ho\0st-shop=t", Lookalike);
    }

    #[test]
    fn written_with_percent_signs() {
        check("%5F%5FHost-shop=t", Lookalike);
        check("%5f%5fhost%2dshop=t", Lookalike);
        check("__%48ost-shop=t", Lookalike);
        check("__Host-sho%70=t", Lookalike);
        check("__%2548ost-shop=t", Lookalike);
        check("__%252548ost-shop=t", Lookalike);
        check("%20__Host-shop=t", Lookalike);
        check("%E2%80%80__Host-shop=t", Lookalike);
        check("__Host-shop%00=t", Lookalike);
        check("__%48ost-other=t", Lookalike);
        check("__Host-shop%=t", Other);
        check("__Host-shop%7=t", Other);
        check("__Host-shop%zz=t", Other);
    }

    #[test]
    fn as_php_would_name_a_variable() {
        check("..Host-shop=t", Lookalike);
        check("._Host-shop=t", Lookalike);
        check("_ Host-shop=t", Lookalike);
        check("_[Host-shop=t", Lookalike);
        check("_+Host-shop=t", Lookalike);
        check("%2E_Host-shop=t", Lookalike);
        check("__Host-shop[0]=t", Lookalike);
        check("__host-shop[]=t", Lookalike);
        check("..Host-other=t", Lookalike);
    }

    #[test]
    fn nameless_cookies_that_become_named() {
        check("=__Host-shop=t", Lookalike);
        check("=__Host-other=t", Lookalike);
        check("=__Secure-x", Lookalike);
        check("__Host-shop", Lookalike);
        check("__Host-other", Lookalike);
        check("__secure-other", Lookalike);
        check("\u{2000}__Host-", Lookalike);
        check("=\u{a0}__Host-shop=t", Lookalike);
        check("=foo=__Host-shop", Other);
        check("foo", Other);
        check("=", Other);
    }

    #[test]
    fn hidden_behind_a_comma() {
        check("$Version=1,__Host-shop=evil", Lookalike);
        check("$Version=1, __Host-shop=evil", Lookalike);
        check("a=\"b\", __host-shop =evil", Lookalike);
        check("a=b,c,\u{2000}__Host-shop=evil,d", Lookalike);
        check("$Version=1", Other);
        check("a=b,c=d", Other);
        check("a={\"x\":1,\"__Host-shopping\":2}", Other);
    }

    /// Python's readers begin a name after a blank, WebOb after almost anything; some take a word without
    /// `=` for a cookie.
    #[test]
    fn hidden_behind_anything_that_no_name_has() {
        for mark in [
            " ", "\t", "\u{b}", "\u{c}", "\r", "\n", "\u{a0}", "\"", "[", "]", "{", "\\", "=", "/",
            ":",
        ] {
            check(format!("a=b{mark}__Host-shop=evil"), Lookalike);
            check(format!("a=b{mark} __host-shop =evil"), Lookalike);
            check(format!("a{mark}__Host-shop=evil"), Lookalike);
            check(format!("a=b{mark}%5F_Host-shop=evil=x"), Lookalike);
            check(format!("a=b{mark}..Host-shop=evil"), Lookalike);
        }
        for words in ["a=b __Host-shop", "a=b __Host-shop c", "__Host-shop c", "__Host-shop c=d"] {
            check(words, Lookalike);
            check(words.replace(' ', "\t"), Lookalike);
        }
        check("a=Wed, 09-Jun-2021 10:18:14 GMT__Host-shop=evil", Lookalike);
        check("a=Wed, 09-Jun-2021 10:18:14 __Host-shop=evil", Lookalike);
        check("a=GMT__Host-shop=evil", Other);
        check("a=b x__Host-shop=evil", Other);
        check("a=b __Host-shopx=evil", Other);
        check("a=b __Host-shop:evil", Other);
        check("a=x&__Host-shop=evil", Other);
        check("a=YmFzZTY0==", Other);
        check("a={\"x\":1,\"__Host-shop\":2}", Other);
    }

    /// Were each place looked at from each other, this would not end.
    #[test]
    fn long_cookies_are_looked_through_once() {
        for piece in
            ["s\u{a0}", "__Host-shop\u{a0}", " _", "=_", "%5", "[s", "__Host-sho \u{a0}\u{a0}"]
        {
            let field = format!("a={}", piece.repeat(60_000 / piece.len()));
            check(&field, Other);
            check(format!("{field}Z=x"), Other);
        }
    }

    #[test]
    fn the_application_may_use_prefixes_itself() {
        check("__Host-csrf=x", Other);
        check("__Secure-csrf=x", Other);
        check("__host-csrf=x", Other);
        check("__Host-shop2=x", Other);
        check("__Host-sho=x", Other);
        check("__Host-=x", Other);
        check("__Secure-shop=x", Other);
        check("shop=x", Other);
        check("_Host-shop=x", Other);
        check("___Host-shop=x", Other);
        check("x__Host-shop=x", Other);
        check("EGG_SESS.sig=x", Other);
        check("wp-settings-1=a%3Db%26c%3D__Host-shop", Other);
        check("caf\u{e9}=\u{a0}", Other);
    }

    #[test]
    fn cookies_that_pass_for_the_application_s_session() {
        let check = |pattern: &str, field: &[u8], expected| {
            let pair = pairs(field).next().expect("a cookie");
            let found = passes_for(&pair, pattern.as_bytes());
            assert_eq!(found, expected, "{pattern}: {}", field.escape_ascii());
        };
        for field in [
            &b"connect.sid=x"[..],
            b"Connect.SID=x",
            b"\xa0connect.sid=x",
            b"\x85connect.sid\x85=x",
            b"\xe2\x80\x80connect.sid=x",
            b"connect%2esid=x",
            b"connect_sid=x",
            b"connect.sid[]=x",
            b"\"connect.sid\"=x",
            b"=connect.sid=x",
            b"connect.sid",
            b"$Version=1, connect.sid=x",
            b"a=b connect.sid=x",
            b"a=b\tConnect%2Esid=x",
            b"a=b connect.sid",
            b"a=\"connect.sid=x\"",
            b"a=connect.sid=x",
            b"a connect.sid=x",
        ] {
            check("connect.sid", field, true);
        }
        for field in [&b"connect.sid2=x"[..], b"connect=x", b"a=b,c=d", b"="] {
            check("connect.sid", field, false);
        }
        check("wp_*", b"wp_1=x", true);
        check("wp_*", b"\xa0WP_1=x", true);
        check("wp_*", b"a=b,wp.1=x", true);
        check("wp_*", b"wp=x", false);
        check("wp_*", b"w\xa0=x", false);
    }

    /// Every text of five bytes out of those that readers treat apart.
    #[test]
    fn what_is_plain_reads_like_what_is_looked_through() {
        const BYTES: &[u8] = b"aB_.-% ,=\"*\xa0";
        let mut plain = 0;
        for number in 0..BYTES.len().pow(5) {
            let digit = |place: u32| BYTES[number / BYTES.len().pow(place) % BYTES.len()];
            let raw: Vec<u8> = (0..5).map(digit).collect();
            for pair in pairs(&raw).filter(|pair| pair.is_plain) {
                plain += 1;
                let slow = Pair { is_plain: false, ..pair };
                for name in [&b"a_b"[..], b"a.b", b"ab", b"a", b"__host-"] {
                    assert_eq!(likeness(&pair, name), likeness(&slow, name), "{pair:?}");
                    assert_eq!(passes_for(&pair, name), passes_for(&slow, name), "{pair:?}");
                    let pattern = [name, b"*"].concat();
                    let found = [&pair, &slow].map(|pair| passes_for(pair, &pattern));
                    assert_eq!(
                        found[0],
                        found[1],
                        "{} {}",
                        raw.escape_ascii(),
                        pattern.escape_ascii()
                    );
                }
            }
        }
        assert!(plain > 1000, "{plain}");
    }

    #[test]
    fn a_ticket_without_prefix_has_lookalikes_too() {
        let check = |name: &[u8], value: &[u8], expected| {
            let raw = [name, b"=", value].concat();
            let pair = Pair { raw: &raw, name, value, is_plain: is_plain(&raw, name, value) };
            assert_eq!(likeness(&pair, b"shop.v1"), expected, "{}", name.escape_ascii());
        };
        check(b"shop.v1", b"t", Same);
        check(b"Shop.v1", b"t", Lookalike);
        check(b"shop_v1", b"t", Lookalike);
        check(b"", b"shop.v1=t", Lookalike);
        check(b"", b"shop.v1", Lookalike);
        check(b"", b"__Host-x", Lookalike);
        check(b"shop.v2", b"t", Other);
        check(b"shop-v1", b"t", Other);
    }

    /// The short way says no only where the long one does.
    #[test]
    fn a_first_look_is_never_wrong() {
        let names = ["a", "A", "ab", "a_b", "sid", "SID", "__Host-shop", "_", "-", "shop", "a-b"];
        let wanted = [
            "a",
            "a.b",
            "a b",
            "%61",
            "\"a\"",
            "sid",
            "__Host-shop",
            "a%2db",
            "",
            "_",
            ".",
            "\u{a0}a",
        ];
        for name in names.map(str::as_bytes) {
            for wanted in wanted.map(str::as_bytes) {
                let may = may_read(name, wanted);
                assert!(may || !reads_exactly(name, wanted), "{name:?} {wanted:?}");
                assert!(may || !begins_as(name, wanted), "{name:?} {wanted:?}");
            }
        }
        assert!(!may_read(b"_ga", b"__Host-shop"));
    }
}
