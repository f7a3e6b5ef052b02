//! `sessions.*.identity`: what workers are told of a session.

use crate::config::schema::List;
use crate::config::value::{Flaw, choice};
use crate::session::policy::Told;

use super::{Checker, at};

impl Checker<'_> {
    /// In place of the default, where it is given; an empty list: nothing.
    pub(super) fn identity(&mut self, given: &List<String>, path: &str) -> Told {
        type Part = fn(&mut Told) -> &mut bool;
        const PARTS: [(&str, Part); 5] = [
            ("id", |told| &mut told.id),
            ("subject", |told| &mut told.subject),
            ("age", |told| &mut told.age),
            ("created", |told| &mut told.created),
            ("authenticated", |told| &mut told.authenticated),
        ];
        let Some(list) = given else { return Told::default() };
        let mut told = Told::NOTHING;
        for (index, given) in list.value.iter().enumerate() {
            let path = format!("{path}[{index}]");
            match choice(&given.value, "part of a session's identity", &PARTS) {
                Err(flaw) => self.error(at(given), &path, flaw),
                Ok(part) if *part(&mut told) => {
                    self.warning(at(given), &path, Flaw::new("is listed twice", "keep one"));
                }
                Ok(part) => *part(&mut told) = true,
            }
        }
        told
    }
}
