//! How a route's answers are carried, and how connections end behind them.

use super::Checker;
use super::cursor::RouteAt;
use crate::config::schema::key;
use crate::config::value::choice;
use crate::config::value::unit::{Zero, duration};
use crate::downstream::delivery::{Delivery, Linger, Lingers};

impl Checker<'_> {
    /// Nothing where a route and what is around it say nothing of it.
    pub(super) fn delivery(&mut self, route: &RouteAt<'_>) -> Option<Delivery> {
        const WHEN: [(&str, Lingers); 3] =
            [("off", Lingers::Never), ("on", Lingers::Unread), ("always", Lingers::Always)];
        let some_time = |text: &str| duration(text, Zero::Refused);
        let any_time = |text: &str| duration(text, Zero::Allowed);
        let send_timeout = self.inherited(route, &key::send_timeout, some_time);
        let when = self
            .inherited(route, &key::lingering_close, |text| choice(text, "way to close", &WHEN));
        let time = self.inherited(route, &key::lingering_time, any_time);
        let timeout = self.inherited(route, &key::lingering_timeout, any_time);
        let chunks = route.find(&key::chunked_transfer_encoding).map(|found| *found.at.value);
        let resets = route.find(&key::reset_timedout_connection).map(|found| *found.at.value);
        let default = Linger::default();
        let linger = Linger {
            when: when.unwrap_or(default.when),
            time: time.unwrap_or(default.time),
            timeout: timeout.unwrap_or(default.timeout),
        };
        let chunks = chunks.unwrap_or(true);
        let resets = resets.unwrap_or(false);
        let delivery = Delivery { send_timeout, chunks, linger, resets };
        let says_something = send_timeout.is_some() || linger != default || !chunks || resets;
        says_something.then_some(delivery)
    }
}
