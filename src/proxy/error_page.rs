//! What is shown in place of an error (nginx `error_page`).

use crate::variables::template::Template;

/// What is shown for which statuses; the nearest level wins whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorPages {
    /// Each status once, the first mention of it.
    pages: Vec<(u16, ErrorPage)>,
}

/// What is shown in place of one error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorPage {
    pub status: Shown,
    pub to: Place,
}

/// Which status the client sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// The error's.
    Error,
    /// That of what answers in its place (`=`).
    Answer,
    /// This one (`=200`).
    Fixed(u16),
}

/// Where an error leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A path with its query, asked for by GET or HEAD.
    Path(String),
    /// A route by its name, which gets the request as it is (`@name`).
    Named(String),
    /// Another URL: a redirect.
    Url(String),
    /// Any of these, once its variables are known.
    Text(Template),
}

/// Why a text says no error page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadErrorPage {
    #[error("is no list of statuses from 300 to 599")]
    Statuses,
    #[error("answers with a status that is none")]
    Status,
    #[error("leads nowhere: a path, `@name` or a URL is missing")]
    Place,
}

impl ErrorPages {
    /// Adds what is shown for `statuses` (`502 504`): `/sorry.html`, `@name`, `https://…`, each with a
    /// status of its own where it begins with `=` or `=200`. `text` is the place, if it has variables.
    ///
    /// # Errors
    /// What is wrong with either.
    pub fn add(
        &mut self,
        statuses: &str,
        shown: &str,
        text: Option<Template>,
    ) -> Result<(), BadErrorPage> {
        let page = ErrorPage::parse(shown, text)?;
        let mut words = statuses.split_ascii_whitespace().peekable();
        if words.peek().is_none() {
            return Err(BadErrorPage::Statuses);
        }
        for word in words {
            let status = number(word).filter(|status| (300..=599).contains(status));
            let status = status.ok_or(BadErrorPage::Statuses)?;
            if self.find(status).is_none() {
                self.pages.push((status, page.clone()));
            }
        }
        Ok(())
    }

    /// What is shown for a status.
    pub fn find(&self, status: u16) -> Option<&ErrorPage> {
        self.pages.iter().find(|(of, _)| *of == status).map(|(_, page)| page)
    }
}

/// The place among what is shown, behind a status of its own.
pub fn place(shown: &str) -> Option<&str> {
    split(shown).ok().map(|(_, place)| place)
}

fn split(text: &str) -> Result<(Shown, &str), BadErrorPage> {
    let (status, place) = match text.trim().strip_prefix('=') {
        None => (Shown::Error, text.trim()),
        Some(rest) => match rest.split_once(char::is_whitespace) {
            Some(("", place)) => (Shown::Answer, place),
            Some((status, place)) => {
                let status = number(status).filter(|status| (100..=599).contains(status));
                (Shown::Fixed(status.ok_or(BadErrorPage::Status)?), place)
            }
            None => return Err(BadErrorPage::Place),
        },
    };
    Ok((status, place.trim_start()))
}

impl ErrorPage {
    fn parse(text: &str, place: Option<Template>) -> Result<Self, BadErrorPage> {
        let (status, written) = split(text)?;
        if let Some(place) = place {
            return Ok(Self { status, to: Place::Text(place) });
        }
        let to = match written {
            path if path.starts_with('/') => Place::Path(path.to_owned()),
            name if name.starts_with('@') && name.len() > 1 => Place::Named(name.to_owned()),
            url if url.starts_with("http://") || url.starts_with("https://") => {
                Place::Url(url.to_owned())
            }
            _ => return Err(BadErrorPage::Place),
        };
        Ok(Self { status, to })
    }
}

fn number(text: &str) -> Option<u16> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<(Shown, Place), BadErrorPage> {
        let ErrorPage { status, to } = ErrorPage::parse(text, None)?;
        Ok((status, to))
    }

    #[test]
    fn a_page_may_have_a_status_of_its_own() {
        let path = |text: &str| Place::Path(text.to_owned());
        assert_eq!(shown("/sorry.html"), Ok((Shown::Error, path("/sorry.html"))));
        assert_eq!(shown("= /sorry?a=b"), Ok((Shown::Answer, path("/sorry?a=b"))));
        assert_eq!(shown("=200 /empty.gif"), Ok((Shown::Fixed(200), path("/empty.gif"))));
        assert_eq!(shown("@old"), Ok((Shown::Error, Place::Named("@old".to_owned()))));
        let url = Place::Url("https://status.example.com/".to_owned());
        assert_eq!(shown("=303 https://status.example.com/"), Ok((Shown::Fixed(303), url)));
    }

    #[test]
    fn what_leads_nowhere_is_a_mistake() {
        for text in ["", "=", "=200", "sorry.html", "@", "ftp://x/", "= "] {
            assert_eq!(shown(text), Err(BadErrorPage::Place), "{text}");
        }
        for text in ["=20x /a", "=600 /a", "=99 /a", "=-1 /a"] {
            assert_eq!(shown(text), Err(BadErrorPage::Status), "{text}");
        }
    }

    #[test]
    fn the_first_mention_of_a_status_counts() {
        let mut pages = ErrorPages::default();
        assert_eq!(pages.add("502 504", "/a", None), Ok(()));
        assert_eq!(pages.add("504 404", "/b", None), Ok(()));
        let place = |status| pages.find(status).map(|page| page.to.clone());
        assert_eq!(place(502), Some(Place::Path("/a".to_owned())));
        assert_eq!(place(504), Some(Place::Path("/a".to_owned())));
        assert_eq!(place(404), Some(Place::Path("/b".to_owned())));
        assert_eq!(place(500), None);
        for statuses in ["", " ", "200", "abc", "404,500", "+404", "600"] {
            let added = ErrorPages::default().add(statuses, "/a", None);
            assert_eq!(added, Err(BadErrorPage::Statuses), "{statuses}");
        }
    }
}
