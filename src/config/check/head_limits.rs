//! What the heads of requests to a server may have.

use super::Checker;
use super::cursor::ServerAt;
use crate::config::value::unit::{Zero, duration, size};
use crate::config::value::{Flaw, Parsed};
use crate::downstream::HeadLimits;
use crate::downstream::head_limits::FIELDS_CEILING;
use crate::wire::head_room::HeadBuffers;

/// More than any worker takes.
const BYTES_MAX: usize = 16 * 1024 * 1024;

impl Checker<'_> {
    pub(super) fn head_limits(&mut self, server: &ServerAt<'_>) -> HeadLimits {
        let given = server.at.value;
        let first = server.at.key("client_header_buffer_size", &given.client_header_buffer_size);
        let first = self.read(first.as_ref(), buffer);
        let large =
            server.at.key("large_client_header_buffers", &given.large_client_header_buffers);
        let large = self.read(large.as_ref(), large_buffers);
        let timeout = server.at.key("client_header_timeout", &given.client_header_timeout);
        let timeout = self.read(timeout.as_ref(), |text| duration(text, Zero::Refused));
        let fields = server.at.key("max_headers", &given.max_headers);
        if let Some(fields) = fields.as_ref()
            && !(1..=FIELDS_CEILING as u32).contains(fields.value)
        {
            let flaw = Flaw::new("is out of range", format!("from 1 to {FIELDS_CEILING}"));
            self.error_at(fields, flaw);
        }
        let default = HeadBuffers::default();
        let buffers = (first.is_some() || large.is_some()).then(|| {
            let (number, size) = large.unwrap_or((default.number, default.size));
            HeadBuffers { first: first.unwrap_or(default.first), number, size }
        });
        let fields_max = fields.map(|fields| usize::try_from(*fields.value).unwrap_or(usize::MAX));
        HeadLimits { buffers, fields_max, timeout, varies: false }
    }
}

/// `4 8k`: how many, and how large each is.
fn large_buffers(text: &str) -> Parsed<(usize, usize)> {
    let mut words = text.split_ascii_whitespace();
    let number = words.next().and_then(|number| number.parse::<usize>().ok());
    let (Some(number @ 1..=1024), Some(size), None) = (number, words.next(), words.next()) else {
        let help = "write how many and how large, as in `4 8k`";
        return Err(Flaw::new(format!("`{text}` says no buffers"), help));
    };
    let size = buffer(size)?;
    if number.saturating_mul(size) > BYTES_MAX {
        return Err(Flaw::new(format!("`{text}` is too much"), "16MiB together at most"));
    }
    Ok((number, size))
}

fn buffer(text: &str) -> Parsed<usize> {
    let bytes = usize::try_from(size(text)?).unwrap_or(usize::MAX);
    if !(64..=BYTES_MAX).contains(&bytes) {
        return Err(Flaw::new(format!("`{text}` is out of range"), "from 64 bytes to 16MiB"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_a_number_and_a_size() {
        assert_eq!(large_buffers("4 8k"), Ok((4, 8192)));
        assert_eq!(large_buffers("2  256"), Ok((2, 256)));
        for text in ["", "4", "x 8k", "4 8k 2", "0 8k", "4 x", "4 1", "1024 1m"] {
            assert!(large_buffers(text).is_err(), "{text}");
        }
    }
}
