//! The application: a state machine of the weakest kind. It keeps its identifier at login, leads
//! whoever asked for it elsewhere after that, and logs out without forgetting it.
//!
//! Either its cookie is an identifier and the user lies in a store of its own (Egg with Redis), or
//! identifier and user lie in the cookie (Egg without). Reading, changing and writing a session is
//! one step: what an application loses between them is its own affair (docs/security.md).

use std::collections::HashMap;

use super::calls::Tick;
use super::schedule::Ask;

/// The number of a login that a worker has carried out.
pub type Grant = usize;

/// Where the user of a session lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppKind {
    InItsStore,
    InTheCookie,
}

/// A login that a worker has carried out.
#[derive(Clone, Copy, Debug)]
pub struct Granted {
    /// The exchange.
    pub by: usize,
    pub at: Tick,
}

/// The application, all workers together.
pub struct Application {
    pub kind: AppKind,
    /// Whether every answer sets the session cookie anew.
    pub rolling: bool,
    users: HashMap<String, Option<Grant>>,
    pub granted: Vec<Granted>,
    made: usize,
}

/// A worker's answer.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    pub status: u16,
    /// `Location: /account/`.
    pub to_account: bool,
    pub late_login: bool,
    /// Cookies set (with their value) and deleted.
    pub edits: Vec<(String, Option<String>)>,
    /// The login whose user the page was made for.
    pub grant: Option<Grant>,
}

impl Reply {
    /// The `Set-Cookie` fields.
    pub fn fields(&self) -> Vec<String> {
        let field = |(name, value): &(String, Option<String>)| match value {
            Some(value) => format!("{name}={value}; path=/; httponly"),
            None => format!("{name}=; path=/; max-age=0"),
        };
        self.edits.iter().map(field).collect()
    }
}

/// What identifies the application's session in a cookie-value.
pub fn identifier(value: &str) -> &str {
    value.split('.').next().unwrap_or(value)
}

impl Application {
    pub fn new(kind: AppKind, rolling: bool) -> Self {
        Self { kind, rolling, users: HashMap::new(), granted: Vec::new(), made: 0 }
    }

    /// Answers a request of exchange `by`.
    pub fn work(&mut self, by: usize, ask: Ask, pairs: &[String], at: Tick) -> Reply {
        let sid = pairs.iter().find_map(|pair| pair.strip_prefix("SID="));
        let mut session = sid.and_then(|value| self.open(value));
        let before = session.clone();
        let mut reply = Reply { status: 200, ..Reply::default() };
        if !matches!(ask, Ask::Look | Ask::Drop(_) | Ask::Logout | Ask::Delete) {
            session.get_or_insert_with(|| (self.value("s"), None));
        }
        match ask {
            Ask::Look | Ask::Visit | Ask::Login(false) => {}
            Ask::Put(number) => {
                reply.edits.push((format!("c{number}"), Some(self.value("v"))));
            }
            Ask::Drop(number) => reply.edits.push((format!("c{number}"), None)),
            Ask::Login(true) | Ask::LateLogin => {
                if let Some((_, user)) = &mut session {
                    *user = Some(self.granted.len());
                }
                self.granted.push(Granted { by, at });
                // Every third one leads elsewhere, and no rule knows it for a login (rule 19).
                let is_known = !self.granted.len().is_multiple_of(3);
                reply.to_account = ask != Ask::LateLogin && is_known;
                reply.late_login = ask == Ask::LateLogin;
                reply.status = 302;
            }
            Ask::Logout => {
                if let Some((_, user)) = &mut session {
                    *user = None;
                }
                reply.status = 302;
            }
            Ask::Delete => {
                reply.edits.extend(["SID", "c0", "c1", "c2"].map(|name| (name.to_owned(), None)));
                if let Some((id, _)) = session.take() {
                    self.users.remove(&id);
                }
            }
        }
        if let Some((id, user)) = &session {
            reply.grant = *user;
            if self.kind == AppKind::InItsStore {
                self.users.insert(id.clone(), *user);
            }
            let changed = self.kind == AppKind::InTheCookie && session != before;
            if before.is_none() || changed || (self.rolling && ask != Ask::Look) {
                let value = match (self.kind, user) {
                    (AppKind::InItsStore, _) => id.clone(),
                    (AppKind::InTheCookie, None) => format!("{id}.-.{at}"),
                    (AppKind::InTheCookie, Some(user)) => format!("{id}.{user}.{at}"),
                };
                reply.edits.push(("SID".to_owned(), Some(value)));
            }
        }
        reply
    }

    fn open(&self, value: &str) -> Option<(String, Option<Grant>)> {
        let id = identifier(value).to_owned();
        match self.kind {
            AppKind::InItsStore => self.users.get(&id).map(|user| (id, *user)),
            AppKind::InTheCookie => {
                let user = value.split('.').nth(1).and_then(|user| user.parse().ok());
                Some((id, user))
            }
        }
    }

    fn value(&mut self, kind: &str) -> String {
        self.made += 1;
        format!("{kind}{}", self.made)
    }
}
