//! What most directives have in common: one value of one kind, checked as it is read.

use super::number::{number, offset, size};
use super::time::{millis, seconds};
use crate::import::known::rows::{Known, Set};
use crate::import::text::until_nul;
use crate::import::tree::{Directive, Word};

/// Whether a directive may stand only once in a block.
pub fn once(set: Set) -> bool {
    !matches!(set, Set::Many | Set::SomeOf(_))
}

/// Checks the arguments of a directive that has as many as it takes.
///
/// # Errors
/// nginx's message, without the place.
pub fn check(known: &Known, directive: &Directive) -> Result<(), String> {
    let args = &directive.args;
    let first = directive.first().unwrap_or_default();
    let invalid = |wrong: bool, what: &str| {
        if wrong { Err(format!("\"{}\" directive {what}", known.name)) } else { Ok(()) }
    };
    match known.set {
        Set::Flag => flag(known.name, first).map(drop),
        Set::Text | Set::Once | Set::Many => Ok(()),
        Set::Number => invalid(number(first).is_none(), "invalid number"),
        Set::Within(low, high) => {
            let Some(number) = number(first) else {
                return invalid(true, "invalid number");
            };
            if (low..=high).contains(&number) {
                return Ok(());
            }
            Err(format!("value must be between {low} and {high}"))
        }
        // Newer versions take variables here.
        Set::Size if known.name.ends_with("_limit_rate") && first.contains('$') => Ok(()),
        Set::Size => invalid(size(first).is_none(), "invalid value"),
        Set::Offset => invalid(offset(first).is_none(), "invalid value"),
        Set::Millis => invalid(millis(first).is_none(), "invalid value"),
        Set::Seconds => invalid(seconds(first).is_none(), "invalid value"),
        Set::Buffers => {
            let size = size(directive.arg(1).unwrap_or_default());
            let wrong = matches!(number(first), None | Some(0)) || matches!(size, None | Some(0));
            invalid(wrong, "invalid value")
        }
        Set::Folder => invalid(!levels(args), "invalid value"),
        Set::Access => access(args),
        Set::OneOf(words) => one_of(words, first),
        Set::SomeOf(words) => args.iter().try_for_each(|arg| one_of(words, &arg.text)),
    }?;
    bounds(known.name, first)
}

/// `on` or `off`, in any case.
///
/// # Errors
/// nginx's message, without the place.
pub fn flag(name: &str, text: &str) -> Result<bool, String> {
    if text.eq_ignore_ascii_case("on") {
        return Ok(true);
    }
    if text.eq_ignore_ascii_case("off") {
        return Ok(false);
    }
    let text = until_nul(text);
    Err(format!("invalid value \"{text}\" in \"{name}\" directive, it must be \"on\" or \"off\""))
}

fn one_of(words: &[&str], text: &str) -> Result<(), String> {
    if words.iter().any(|word| word.eq_ignore_ascii_case(text)) {
        return Ok(());
    }
    Err(format!("invalid value \"{}\"", until_nul(text)))
}

/// The levels of folders behind a path: at most three, with few digits in all.
fn levels(args: &[Word]) -> bool {
    let levels = args.iter().skip(1).map(|word| number(&word.text).filter(|level| *level > 0));
    let count = levels.len() as u64;
    levels.sum::<Option<u64>>().is_some_and(|digits| digits <= 10) && count <= 3
}

/// `user:rw group:r all:r`
fn access(args: &[Word]) -> Result<(), String> {
    let known = |text: &str| {
        let right = ["user:", "group:", "all:"].iter().find_map(|who| text.strip_prefix(who));
        matches!(right, Some("rw" | "r"))
    };
    match args.iter().find(|word| !known(&word.text)) {
        Some(word) => Err(format!("invalid value \"{}\"", word.text)),
        None => Ok(()),
    }
}

/// Where a value of the right kind is not any.
fn bounds(name: &str, text: &str) -> Result<(), String> {
    let sizes = |most: u32| (9..=most).any(|power| size(text) == Some(1 << power));
    let wrong = match name {
        "gzip_window" if !sizes(15) => "must be 512, 1k, 2k, 4k, 8k, 16k, or 32k",
        "gzip_hash" if !sizes(17) => "must be 512, 1k, 2k, 4k, 8k, 16k, 32k, 64k, or 128k",
        "http2_streams_index_size" if !number(text).is_some_and(u64::is_power_of_two) => {
            "must be a power of two"
        }
        "http2_recv_buffer_size" if size(text) < Some(HTTP2_RECV_BUFFER_MIN) => {
            "value is too small"
        }
        "connection_pool_size" | "request_pool_size" | "http2_pool_size" => {
            return pool_size(size(text).unwrap_or_default());
        }
        "http2_body_preread_size" if size(text) > Some(HTTP2_PREREAD_MAX) => {
            return Err(format!("the maximum body preread buffer size is {HTTP2_PREREAD_MAX}"));
        }
        _ => return Ok(()),
    };
    Err(format!("\"{name}\" directive {wrong}"))
}

/// As nginx has them on 64 bits.
const POOL_SIZE_MIN: u64 = 112;
const POOL_ALIGNMENT: u64 = 16;
const HTTP2_PREREAD_MAX: u64 = i32::MAX as u64;
const HTTP2_RECV_BUFFER_MIN: u64 = 33;

fn pool_size(size: u64) -> Result<(), String> {
    if size < POOL_SIZE_MIN {
        return Err(format!("the pool size must be no less than {POOL_SIZE_MIN}"));
    }
    if !size.is_multiple_of(POOL_ALIGNMENT) {
        return Err(format!("the pool size must be a multiple of {POOL_ALIGNMENT}"));
    }
    Ok(())
}
