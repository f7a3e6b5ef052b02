//! The time as logs have it, in the zone of this machine.

use std::cell::RefCell;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::clock::UnixMillis;

/// `30/Nov/2026:11:36:39 +0000` (nginx `$time_local`).
pub fn local(now: UnixMillis, out: &mut Vec<u8>) {
    with_second(now, |second| out.extend_from_slice(second.local.as_bytes()));
}

/// `2026-11-30T11:36:39+00:00` (nginx `$time_iso8601`).
pub fn iso8601(now: UnixMillis, out: &mut Vec<u8>) {
    with_second(now, |second| out.extend_from_slice(second.iso8601.as_bytes()));
}

/// `Nov 30 11:36:39`: RFC 3164 section 4.1.2.
pub fn syslog(now: UnixMillis, out: &mut Vec<u8>) {
    with_second(now, |second| out.extend_from_slice(second.syslog.as_bytes()));
}

/// `2026/11/30 11:36:39`, as nginx's error log has it.
pub fn error_log(now: UnixMillis, out: &mut Vec<u8>) {
    with_second(now, |second| out.extend_from_slice(second.error_log.as_bytes()));
}

/// `Monday, 30-Nov-2026 11:36:39 GMT` (nginx `$date_gmt`).
pub fn date_gmt(now: UnixMillis, out: &mut Vec<u8>) {
    let date = at(now.as_secs()).strftime("%A, %d-%b-%Y %H:%M:%S GMT").to_string();
    out.extend_from_slice(date.as_bytes());
}

/// `Monday, 30-Nov-2026 11:36:39 UTC` (nginx `$date_local`).
pub fn date_local(now: UnixMillis, out: &mut Vec<u8>) {
    let zoned = at(now.as_secs()).to_zoned(TimeZone::system());
    let date = zoned.strftime("%A, %d-%b-%Y %H:%M:%S %Z").to_string();
    out.extend_from_slice(date.as_bytes());
}

fn at(unix: u64) -> Timestamp {
    let at = i64::try_from(unix).ok().and_then(|unix| Timestamp::from_second(unix).ok());
    at.unwrap_or(Timestamp::UNIX_EPOCH)
}

/// What a second is called, made once for each thread.
#[derive(Default)]
struct Second {
    unix: Option<u64>,
    local: String,
    iso8601: String,
    syslog: String,
    error_log: String,
}

fn with_second(now: UnixMillis, read: impl FnOnce(&Second)) {
    thread_local! {
        static LAST: RefCell<Second> = RefCell::default();
    }
    LAST.with_borrow_mut(|last| {
        let unix = now.as_secs();
        if last.unix != Some(unix) {
            *last = Second::of(unix, TimeZone::system());
        }
        read(last);
    });
}

impl Second {
    fn of(unix: u64, zone: TimeZone) -> Self {
        let at = at(unix).to_zoned(zone);
        Self {
            unix: Some(unix),
            local: at.strftime("%d/%b/%Y:%H:%M:%S %z").to_string(),
            iso8601: at.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
            syslog: at.strftime("%b %e %H:%M:%S").to_string(),
            error_log: at.strftime("%Y/%m/%d %H:%M:%S").to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::Offset;

    use super::*;

    #[test]
    fn a_day_has_its_name() {
        let mut out = Vec::new();
        date_gmt(UnixMillis(1_796_000_000_000), &mut out);
        assert_eq!(out, b"Monday, 30-Nov-2026 00:53:20 GMT");
    }

    #[test]
    fn a_second_is_called_as_nginx_calls_it() {
        let second = Second::of(1_796_000_000, TimeZone::UTC);
        assert_eq!(second.local, "30/Nov/2026:00:53:20 +0000");
        assert_eq!(second.iso8601, "2026-11-30T00:53:20+00:00");
        assert_eq!(second.syslog, "Nov 30 00:53:20");
        assert_eq!(second.error_log, "2026/11/30 00:53:20");
        let offset = Offset::from_seconds(-(3 * 3600 + 1800)).expect("an offset");
        let second = Second::of(1_796_774_400, TimeZone::fixed(offset));
        assert_eq!(second.local, "08/Dec/2026:20:30:00 -0330");
        assert_eq!(second.iso8601, "2026-12-08T20:30:00-03:30");
        assert_eq!(second.syslog, "Dec  8 20:30:00");
    }
}
