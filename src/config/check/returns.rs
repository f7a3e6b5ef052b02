//! `return`: a status, a redirect or a text.

use crate::config::schema::key;
use crate::config::value::Flaw;
use crate::proxy::file_settings::OwnRedirects;
use crate::proxy::returned::{Return, is_redirect};

use super::Checker;
use super::cursor::{At, RouteAt};
use super::files::switch;

const HELP: &str = "write a status, what it says or where it leads behind it: `204`, `200 ok`, \
                    `301 https://$host$request_uri`, or a URL alone";

impl Checker<'_> {
    /// What a route answers by itself.
    pub(super) fn returned(&mut self, route: &RouteAt<'_>, at: &At<'_, String>) -> Option<Return> {
        let given = at.value.trim();
        let (status, text) = match given.split_once(char::is_whitespace) {
            Some((status, text)) => (status, Some(text.trim_start())),
            None if is_url(given) => ("302", Some(given)),
            None => (given, None),
        };
        let status = status.parse().ok().filter(|status| (100..=999).contains(status));
        let Some(status) = status else {
            self.error_at(at, Flaw::new(format!("`{given}` does not begin with a status"), HELP));
            return None;
        };
        if is_redirect(status) && text.is_none() {
            self.error_at(at, Flaw::new("leads nowhere", HELP));
        }
        let text = match text {
            Some(text) => {
                let text = text.to_owned();
                let at = At { value: &text, path: at.path.clone(), place: at.place };
                Some(self.template(&at)?)
            }
            None => None,
        };
        let media_type = route.find(&key::default_type);
        let media_type =
            media_type.map_or("text/plain", |found| found.at.value.as_str()).to_owned();
        let redirects = OwnRedirects {
            absolute: switch(route, &key::absolute_redirect, true),
            with_port: switch(route, &key::port_in_redirect, true),
            server_name: switch(route, &key::server_name_in_redirect, false),
        };
        Some(Return { status, text, media_type, redirects })
    }
}

fn is_url(text: &str) -> bool {
    ["http://", "https://", "$scheme"].iter().any(|start| text.starts_with(start))
}
