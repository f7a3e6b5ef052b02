//! Where a head ends, found as its bytes arrive: each byte is looked at once, however small the
//! pieces, so that a head sent byte by byte costs no more than one sent whole.

use std::ops::Range;

use memchr::memchr;

/// How far a head was looked at. One for each head; small, for connections keep it while they wait. No
/// head has 4 GiB.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadScan {
    /// Bytes of blank lines before the first line.
    begin: u32,
    /// Bytes looked at.
    seen: u32,
    /// Where the present line begins.
    line: u32,
    /// Where the first line ends, its line break included; 0 as long as it has not ended.
    first_line_end: u32,
}

impl HeadScan {
    /// Looks at what has arrived since the last call. `bytes` is all that there is of the message,
    /// from its first byte; the head's range once it is whole, blank lines before it left out (RFC
    /// 9112 section 2.2).
    pub fn advance(&mut self, bytes: &[u8]) -> Option<Range<usize>> {
        while let Some(at) = bytes.get(self.seen as usize..).and_then(|rest| memchr(b'\n', rest)) {
            let end = self.seen as usize + at;
            let line = bytes.get(self.line as usize..end).unwrap_or_default();
            self.seen = narrow(end + 1);
            self.line = narrow(end + 1);
            if !matches!(line, b"" | b"\r") {
                if self.first_line_end == 0 {
                    self.first_line_end = narrow(end + 1);
                }
            } else if self.first_line_end > 0 {
                return Some(self.begin as usize..end + 1);
            } else {
                self.begin = narrow(end + 1);
            }
        }
        self.seen = narrow(bytes.len());
        None
    }

    /// Bytes of the first line so far, and whether that is all of it.
    pub fn first_line(&self) -> (usize, bool) {
        match self.first_line_end {
            0 => ((self.seen - self.begin) as usize, false),
            end => ((end - self.begin) as usize, true),
        }
    }

    /// Where the first line begins.
    pub fn begin(&self) -> usize {
        self.begin as usize
    }
}

fn narrow(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However the bytes are cut, the end is found in the same place.
    #[track_caller]
    fn check(bytes: &[u8], expected: Option<Range<usize>>) {
        for step in 1..=bytes.len().max(1) {
            let mut scan = HeadScan::default();
            let found = (0..=bytes.len())
                .filter(|length| length % step == 0 || *length == bytes.len())
                .find_map(|length| scan.advance(&bytes[..length]));
            assert_eq!(found, expected, "{} by {step}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_head_ends_with_an_empty_line() {
        check(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nbody", Some(0..27));
        check(b"GET / HTTP/1.1\nHost: a\n\nbody", Some(0..24));
        check(b"GET / HTTP/1.1\r\n\n", Some(0..17));
        check(b"GET / HTTP/1.1\r\n\r\n\r\n", Some(0..18));
        check(b"a\r\n \r\n\r\n", Some(0..8));
    }

    #[test]
    fn blank_lines_before_a_head_are_left_out() {
        check(b"\r\n\r\nGET / HTTP/1.1\r\n\r\n", Some(4..22));
        check(b"\n\nGET / HTTP/1.1\n\n", Some(2..18));
    }

    #[test]
    fn what_is_not_whole_has_no_end() {
        for bytes in [&b""[..], b"\r\n", b"\n\n\n", b"GET", b"GET / HTTP/1.1\r\n", b"a\r\n\r"] {
            check(bytes, None);
        }
    }

    #[test]
    fn the_first_line_is_measured_while_it_comes() {
        let mut scan = HeadScan::default();
        scan.advance(b"\r\nGET /");
        assert_eq!((scan.begin(), scan.first_line()), (2, (5, false)));
        scan.advance(b"\r\nGET / HTTP/1.1\r\nHo");
        assert_eq!((scan.begin(), scan.first_line()), (2, (16, true)));
    }
}
