//! The bytes of a configuration file as text, and back again without loss.
//!
//! nginx knows bytes only, and its files are nearly always UTF-8. Here they are `String`s: a byte that is
//! no UTF-8 stands in them as one character of a private plane, so that messages and paths come out again
//! byte for byte.

use std::borrow::Cow;

/// The character that stands for byte 0; bytes below 0x80 are never replaced.
const FIRST: u32 = 0x10_FF00;

/// What `bytes` say. Characters of the plane that is used here are taken apart like bad bytes.
pub fn text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for next in chunk.valid().chars() {
            if stands_for(next).is_some() {
                let mut buffer = [0; 4];
                text.extend(next.encode_utf8(&mut buffer).bytes().map(stand_in));
            } else {
                text.push(next);
            }
        }
        text.extend(chunk.invalid().iter().copied().map(stand_in));
    }
    text
}

/// The bytes that a [`text`] was made of.
pub fn bytes(text: &str) -> Cow<'_, [u8]> {
    if !text.chars().any(|next| stands_for(next).is_some()) {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut bytes = Vec::with_capacity(text.len());
    for next in text.chars() {
        match stands_for(next) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(next.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Cow::Owned(bytes)
}

/// What nginx prints with `%s`: everything before the first NUL.
pub fn until_nul(text: &str) -> &str {
    text.split('\0').next().unwrap_or_default()
}

fn stand_in(byte: u8) -> char {
    char::from_u32(FIRST + u32::from(byte)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

fn stands_for(next: char) -> Option<u8> {
    let byte = u32::from(next).checked_sub(FIRST)?;
    u8::try_from(byte).ok().filter(|byte| *byte >= 0x80)
}

#[cfg(test)]
mod tests {
    use super::{bytes, text};

    #[test]
    fn every_byte_comes_back() {
        let all: Vec<u8> = (0..=255).collect();
        for original in [
            b"server_name caf\xc3\xa9;".as_slice(),
            b"caf\xe9 \xff\xfe\x00",
            "\u{10FF80}\u{10FFFF}\u{10FF7F}".as_bytes(),
            &all,
        ] {
            assert_eq!(*bytes(&text(original)), *original, "{original:?}");
        }
    }

    #[test]
    fn utf_8_stays_as_it_is() {
        assert_eq!(text("naïve – ✓".as_bytes()), "naïve – ✓");
    }
}
