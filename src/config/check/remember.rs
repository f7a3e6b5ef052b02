//! `sessions.*.cookie.remember`: whether tickets survive the browser.

use std::time::Duration;

use crate::config::schema::Session;
use crate::config::value::{Flaw, choice};
use crate::session::policy::{Remember, Timeouts};

use super::{Checker, at, items};

/// A remembered visitor comes back another day.
const ANOTHER_DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Checker<'_> {
    /// `timeouts` have been checked.
    pub(super) fn remember(
        &mut self,
        session: &Session,
        timeouts: &Timeouts,
        path: &str,
    ) -> Remember {
        const KINDS: [(&str, Remember); 3] = [
            ("true", Remember::Always),
            ("false", Remember::Never),
            ("application", Remember::AsApplication),
        ];
        let given = session.cookie.as_ref().map_or(&None, |cookie| &cookie.remember);
        let remember = self
            .or(given, path, Remember::Never, |text| choice(text, "way to keep tickets", &KINDS));
        let place = given.as_ref().and_then(at);
        if remember == Remember::AsApplication && timeouts.idle < ANOTHER_DAY {
            let message = format!(
                "after {:?} without a request the session is over, remembered or not",
                timeouts.idle
            );
            let help = "lengthen `timeouts.idle` and `timeouts.absolute` to what the application \
                        promises; whoever is not remembered loses the ticket with the browser";
            self.warning(place, path, Flaw::new(message, help));
        }
        let patterns = items(&session.app_cookies);
        if remember == Remember::AsApplication
            && patterns.iter().any(|pattern| pattern.value == "*")
        {
            let flaw = Flaw::new(
                "with `app_cookies: ['*']` any cookie that a login sets for long makes it a remembered one",
                "list the application's session cookies by name",
            );
            self.warning(place, path, flaw);
        }
        remember
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Diagnostics, environment::testing, parse};
    use crate::session::policy::Remember;

    fn read(cookie: &str, more: &str) -> Result<Config, Diagnostics> {
        let text = format!(
            "listeners: [{{ address: '127.0.0.1:8443', tls: {{ self_signed: true }} }}]\n\
             sessions: {{ app: {{ cookie: {{ {cookie} }}, {more} }} }}\n\
             upstreams: {{ app: {{ endpoints: [{{ address: '127.0.0.1:7001' }}] }} }}\n\
             servers: [{{ routes: [{{ path: /, upstream: app, session: app }}] }}]\n"
        );
        parse(&text, "c.yaml", &testing::Given::default().environment())
    }

    const LONG: &str = "app_cookies: [s], timeouts: { idle: 14d, absolute: 30d }";

    #[test]
    fn a_switch_says_it_or_the_application() {
        for (cookie, expected) in [
            ("", Remember::Never),
            ("remember: false", Remember::Never),
            ("remember: true", Remember::Always),
            ("remember: application", Remember::AsApplication),
        ] {
            let config = read(cookie, LONG).unwrap_or_else(|found| panic!("{cookie}: {found}"));
            assert_eq!(config.sessions[0].cookie.remember, expected, "{cookie}");
            let said = config.warnings.to_string();
            assert!(!said.contains("remember"), "{cookie}: {said}");
        }
        let found = read("remember: sometimes", LONG).expect_err("no word for it").to_string();
        assert!(found.contains("sessions.app.cookie.remember: `sometimes` is no way"), "{found}");
    }

    #[test]
    fn what_remembers_nobody_or_everybody_is_said() {
        for (more, expected) in [
            ("app_cookies: [s]", "after 1800s without a request the session is over"),
            ("app_cookies: ['*'], timeouts: { idle: 14d, absolute: 30d }", "a remembered one"),
        ] {
            let config = read("remember: application", more).expect("it is only a warning");
            let said = config.warnings.to_string();
            assert!(said.contains("warning: sessions.app.cookie.remember: "), "{said}");
            assert!(said.contains(expected), "{said}");
        }
    }
}
