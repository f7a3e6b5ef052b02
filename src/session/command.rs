//! `Cloakroom-Session`: what an application says of its session in an answer (PROTOCOL.md 21, 30).
//!
//! A List of RFC 9651 whose members are the tokens `login`, `logout`, `renew` and `revoke-subject`.
//! `login` may have a parameter `subject`, a String or a Display String; other parameters are
//! ignored (section 2 there). `revoke-subject` goes along with `login`, whose session is then the
//! only one that is left, and with `logout`, which it implies. A field that makes no sense is
//! ignored as a whole: half of what was meant could be the wrong half.

use sfv::{BareItem, Item, List, ListEntry, Parser};

use crate::session::subject::Subject;

/// What happens to the session itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionChange {
    /// Somebody logged in, or did so again: confirmed, if it is said who.
    Login(Option<Subject>),
    Logout,
    /// The next ticket, now.
    Renew,
}

/// What an answer says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    pub turn: Option<SessionChange>,
    /// Every session of the subject ends.
    pub revoke_subject: bool,
}

/// Why the field was ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// No such list, a member that is not known, or a subject that is no text.
    Malformed,
    /// Members that exclude each other.
    Contradictory,
    /// `revoke-subject` where there is neither a session nor a login.
    NoSubject,
}

impl Ignored {
    /// Every cause, in the order of declaration.
    pub const ALL: &'static [Self] = &[Self::Malformed, Self::Contradictory, Self::NoSubject];

    /// Its name in the audit log and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Contradictory => "contradictory",
            Self::NoSubject => "no_subject",
        }
    }
}

impl Command {
    /// Reads the field's lines, which make up one list (RFC 9110, 5.3).
    ///
    /// # Errors
    /// Why it is ignored.
    pub fn read<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Result<Self, Ignored> {
        let field = lines.collect::<Vec<_>>().join(&b", "[..]);
        let list: List = Parser::new(&field).parse().map_err(|_| Ignored::Malformed)?;
        let mut command = Self::default();
        for entry in &list {
            command.add(entry)?;
        }
        match (&command.turn, command.revoke_subject) {
            (Some(SessionChange::Renew), true) => Err(Ignored::Contradictory),
            _ => Ok(command),
        }
    }

    fn add(&mut self, entry: &ListEntry) -> Result<(), Ignored> {
        let ListEntry::Item(Item { bare_item: BareItem::Token(token), params }) = entry else {
            return Err(Ignored::Malformed);
        };
        let turn = match token.as_str() {
            "login" => {
                let subject = match params.get("subject") {
                    None => None,
                    Some(BareItem::String(text)) => Subject::confirmed(text.as_str()),
                    Some(BareItem::DisplayString(text)) => Subject::confirmed(text),
                    Some(_) => return Err(Ignored::Malformed),
                };
                SessionChange::Login(subject)
            }
            "logout" => SessionChange::Logout,
            "renew" => SessionChange::Renew,
            "revoke-subject" if self.revoke_subject => return Err(Ignored::Contradictory),
            "revoke-subject" => {
                self.revoke_subject = true;
                return Ok(());
            }
            _ => return Err(Ignored::Malformed),
        };
        match self.turn.replace(turn) {
            None => Ok(()),
            Some(_) => Err(Ignored::Contradictory),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(lines: &[&str]) -> Result<Command, Ignored> {
        Command::read(lines.iter().map(|line| line.as_bytes()))
    }

    fn login(subject: Option<&str>) -> Option<SessionChange> {
        Some(SessionChange::Login(subject.and_then(Subject::confirmed)))
    }

    #[test]
    fn commands_are_read() {
        let check = |lines: &[&str], turn: Option<SessionChange>, revoke_subject: bool| {
            assert_eq!(read(lines), Ok(Command { turn, revoke_subject }), "{lines:?}");
        };
        check(&[], None, false);
        check(&[""], None, false);
        check(&["login"], login(None), false);
        check(&["  login  "], login(None), false);
        check(&["login;subject=\"alice\""], login(Some("alice")), false);
        check(&["login; subject=\"Alice \\\"B\\\"\""], login(Some("Alice \"B\"")), false);
        check(&["login;subject=%\"zo%c3%ab\""], login(Some("zoë")), false);
        check(&["login;level=2;subject=\"alice\";mfa"], login(Some("alice")), false);
        // RFC 9651, 4.2.3.2: the last one of a parameter counts.
        check(&["login;subject=\"a\";subject=\"b\""], login(Some("b")), false);
        // No name at all: somebody has logged in all the same.
        check(&["login;subject=\"\""], login(None), false);
        check(&["login;subject=%\"a%0a\""], login(None), false);
        check(&["logout"], Some(SessionChange::Logout), false);
        check(&["renew"], Some(SessionChange::Renew), false);
        check(&["revoke-subject"], None, true);
        check(&["login;subject=\"alice\", revoke-subject"], login(Some("alice")), true);
        check(&["revoke-subject", "login;subject=\"alice\""], login(Some("alice")), true);
        check(&["logout, revoke-subject"], Some(SessionChange::Logout), true);
    }

    #[test]
    fn nonsense_is_ignored_as_a_whole() {
        let check = |lines: &[&str], expected: Ignored| {
            assert_eq!(read(lines), Err(expected), "{lines:?}");
        };
        for malformed in [
            "Login",
            "sign-in",
            "\"login\"",
            "login logout",
            "login,",
            ",",
            "(login)",
            "login;",
            "1",
            "login;subject=alice",
            "login;subject=1",
            "login;subject",
            "login;subject=\"zoë\"",
            "login;subject=%\"zo%ff\"",
            "login;subject=\"alice",
            "login;Subject=\"alice\"",
            "?1",
            "logout, unknown",
            "logout\0",
        ] {
            check(&[malformed], Ignored::Malformed);
        }
        check(&["logout", ""], Ignored::Malformed);
        for contradictory in [
            "login, logout",
            "logout, renew",
            "renew, login",
            "login, login",
            "renew, revoke-subject",
            "revoke-subject, revoke-subject",
        ] {
            check(&[contradictory], Ignored::Contradictory);
        }
        check(&["login", "logout"], Ignored::Contradictory);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(field in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = Command::read([field.as_slice()].into_iter());
        }
    }
}
