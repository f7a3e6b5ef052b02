//! `error_page`: statuses, and what is shown in their place.

use crate::config::schema::key;
use crate::config::value::Flaw;
use crate::proxy::error_page::{self, BadErrorPage, ErrorPages};

use super::Checker;
use super::cursor::{At, RouteAt};

impl Checker<'_> {
    /// What is shown in place of errors; the nearest level wins whole.
    pub(super) fn error_pages(&mut self, route: &RouteAt<'_>) -> ErrorPages {
        let mut pages = ErrorPages::default();
        let Some(found) = route.find(&key::error_page) else { return pages };
        for (statuses, shown) in &found.at.value.0 {
            let shown = At::new(found.at.path_of(&statuses.value), shown);
            let place = error_page::place(shown.value).filter(|place| place.contains('$'));
            let text = match place.map(str::to_owned) {
                None => None,
                Some(place) => {
                    let at = At { value: &place, path: shown.path.clone(), place: shown.place };
                    let Some(text) = self.template(&at) else { continue };
                    Some(text)
                }
            };
            if let Err(bad) = pages.add(&statuses.value, shown.value, text) {
                self.error_at(&shown, flaw(bad));
            }
        }
        pages
    }
}

fn flaw(bad: BadErrorPage) -> Flaw {
    let help = match bad {
        BadErrorPage::Statuses => "write statuses with blanks between them: `502 504: /sorry.html`",
        BadErrorPage::Status => "write a status from 100 to 599, or `=` alone: `=200 /empty.gif`",
        BadErrorPage::Place => {
            "write a path (`/sorry.html`), a route's name (`@old`) or a URL (`https://…`)"
        }
    };
    Flaw::new(bad.to_string(), help)
}
