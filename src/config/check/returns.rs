//! `return`: a status, a redirect or a text.

use crate::config::value::Flaw;
use crate::rewrite::Step;

use super::Checker;
use super::cursor::At;

const HELP: &str = "write a status, what it says or where it leads behind it: `204`, `200 ok`, \
                    `301 https://$host$request_uri`, or a URL alone";

impl Checker<'_> {
    /// What a route answers by itself.
    pub(super) fn returned(&mut self, at: &At<'_, String>) -> Option<Step> {
        let given = at.value.trim();
        let (status, text) = match given.split_once(char::is_whitespace) {
            Some((status, text)) => (status, Some(text.trim_start())),
            None if is_url(given) => ("302", Some(given)),
            None => (given, None),
        };
        let is_number = status.bytes().all(|byte| byte.is_ascii_digit());
        let status = status.parse().ok().filter(|status| is_number && *status <= 999);
        let Some(status) = status else {
            self.error_at(at, Flaw::new(format!("`{given}` does not begin with a status"), HELP));
            return None;
        };
        if matches!(status, 301 | 302 | 303 | 307 | 308) && text.is_none() {
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
        Some(Step::status(status, text))
    }
}

fn is_url(text: &str) -> bool {
    ["http://", "https://", "$scheme"].iter().any(|start| text.starts_with(start))
}
