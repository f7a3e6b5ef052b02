//! How much room heads have, where that is nginx's: a line has to fit one buffer, and there are so many
//! (nginx `client_header_buffer_size`, `large_client_header_buffers`).
//!
//! There are no such buffers here. What is counted is what nginx would need of them, so that the same heads
//! are refused, to the byte, however they arrive.

use memchr::memchr;

use super::flaw::RequestFlaw;

/// The buffers that a head has room in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadBuffers {
    /// Bytes of the one that heads begin in.
    pub first: usize,
    /// How many more there are, and the bytes of each.
    pub number: usize,
    pub size: usize,
}

impl Default for HeadBuffers {
    /// nginx's.
    fn default() -> Self {
        Self { first: 1024, number: 4, size: 8 * 1024 }
    }
}

impl HeadBuffers {
    /// More bytes than any head may have.
    pub fn bytes_max(&self) -> usize {
        self.size.saturating_mul(self.number).saturating_add(self.first)
    }
}

/// How far the lines of one head were counted.
#[derive(Clone, Copy, Debug)]
pub struct HeadRoom {
    buffers: HeadBuffers,
    /// Where the present line begins.
    line: usize,
    /// Bytes of it that were looked at.
    seen: usize,
    is_first: bool,
    has_authority: bool,
    /// Bytes left in the present buffer, behind the lines before this one.
    left: usize,
    /// Buffers in use beside the first one.
    used: usize,
}

impl HeadRoom {
    pub fn new(buffers: HeadBuffers) -> Self {
        Self {
            buffers,
            line: 0,
            seen: 0,
            is_first: true,
            has_authority: false,
            left: buffers.first,
            used: 0,
        }
    }

    /// Counts what has arrived since the last call. `bytes` is all that there is of the head, from its
    /// first line on; whether that is the whole head. Once a line has named the host, `of_host` may say that
    /// its server has other buffers.
    ///
    /// # Errors
    /// [`RequestFlaw::RequestLineTooLong`], [`RequestFlaw::FieldsTooLarge`].
    pub fn count(
        &mut self,
        bytes: &[u8],
        is_whole: bool,
        of_host: impl Fn(&[u8]) -> Option<HeadBuffers>,
    ) -> Result<(), RequestFlaw> {
        loop {
            let from = self.line + self.seen;
            let Some(at) = bytes.get(from..).and_then(|rest| memchr(b'\n', rest)) else { break };
            let end = from + at + 1;
            let line = bytes.get(self.line..end).unwrap_or_default();
            self.take(line.len(), true)?;
            self.left -= line.len();
            self.note_host(line, &of_host);
            (self.line, self.seen, self.is_first) = (end, 0, false);
        }
        self.seen = bytes.len().saturating_sub(self.line);
        // Nothing is awaited behind the line that ends a head.
        if is_whole { Ok(()) } else { self.take(self.seen, false) }
    }

    /// Makes room for a line, or for what has come of one.
    fn take(&mut self, length: usize, is_whole: bool) -> Result<(), RequestFlaw> {
        // A buffer that is full is left as soon as anything may follow in it.
        while length > self.left || (!is_whole && length == self.left) {
            let has_begun = self.left > 0;
            let is_too_long = has_begun && self.left >= self.buffers.size;
            if is_too_long || self.used >= self.buffers.number {
                return Err(match self.is_first {
                    true => RequestFlaw::RequestLineTooLong,
                    false => RequestFlaw::FieldsTooLarge,
                });
            }
            self.used += 1;
            self.left = self.buffers.size;
        }
        Ok(())
    }

    fn note_host(&mut self, line: &[u8], of_host: &impl Fn(&[u8]) -> Option<HeadBuffers>) {
        let host = match self.is_first {
            true => authority_in(line),
            false => host_in(line).filter(|_| !self.has_authority),
        };
        let Some(host) = host else { return };
        self.has_authority |= self.is_first;
        if let Some(buffers) = of_host(host) {
            self.buffers = buffers;
        }
    }
}

fn authority_in(line: &[u8]) -> Option<&[u8]> {
    super::request::authority_of(line.split(|byte| *byte == b' ').nth(1)?)
}

fn host_in(line: &[u8]) -> Option<&[u8]> {
    let (name, value) = line.split_at_checked(5)?;
    name.eq_ignore_ascii_case(b"host:").then(|| value.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: HeadBuffers = HeadBuffers { first: 32, number: 2, size: 64 };

    fn line(bytes: usize) -> Vec<u8> {
        [&b"a".repeat(bytes - 2), &b"\r\n"[..]].concat()
    }

    /// However the bytes are cut, the same is said of them.
    #[track_caller]
    fn check(lines: &[usize], expected: Result<(), RequestFlaw>) {
        let bytes: Vec<u8> = lines.iter().flat_map(|length| line(*length)).collect();
        for step in 1..=bytes.len() {
            let mut room = HeadRoom::new(SMALL);
            let cuts = (0..=bytes.len()).filter(|cut| cut % step == 0 || *cut == bytes.len());
            let counted = cuts
                .map(|cut| room.count(&bytes[..cut], cut == bytes.len(), |_| None))
                .find(Result::is_err);
            assert_eq!(counted.unwrap_or(Ok(())), expected, "{lines:?} by {step}");
        }
    }

    #[test]
    fn a_request_line_has_to_fit_a_buffer() {
        check(&[32, 2], Ok(()));
        check(&[64, 20], Ok(()));
        check(&[65], Err(RequestFlaw::RequestLineTooLong));
    }

    #[test]
    fn a_field_has_to_fit_a_buffer() {
        check(&[20, 64, 2], Ok(()));
        check(&[20, 65], Err(RequestFlaw::FieldsTooLarge));
    }

    #[test]
    fn there_are_so_many_buffers() {
        check(&[20, 60, 60, 2], Ok(()));
        check(&[20, 60, 60, 10], Err(RequestFlaw::FieldsTooLarge));
        check(&[20, 10, 30, 30, 30, 30, 2], Ok(()));
    }

    #[test]
    fn a_host_may_have_other_buffers() {
        let more = HeadBuffers { number: 4, ..SMALL };
        let of_host = |host: &[u8]| (host == b"b.example").then_some(more);
        let rest: Vec<u8> = [line(60), line(60), line(60)].concat();
        let count =
            |head: &[u8]| HeadRoom::new(SMALL).count(&[head, &rest].concat(), true, of_host);
        assert_eq!(count(b"GET / HTTP/1.1\r\nHost: b.example\r\n"), Ok(()));
        assert_eq!(count(b"GET http://b.example/ HTTP/1.1\r\nHost: a\r\n"), Ok(()));
        let refused = Err(RequestFlaw::FieldsTooLarge);
        assert_eq!(count(b"GET / HTTP/1.1\r\nHost: a.example\r\n"), refused);
        assert_eq!(count(b"GET http://a.example/ HTTP/1.1\r\nhost: b.example\r\n"), refused);
    }
}
