//! The form of the tables: where a directive may stand, with how many words, and how nginx takes them.

/// A set of the places below.
pub type Contexts = u16;

pub const MAIN: Contexts = 1;
pub const EVENTS: Contexts = 1 << 1;
pub const HTTP: Contexts = 1 << 2;
pub const SERVER: Contexts = 1 << 3;
pub const LOCATION: Contexts = 1 << 4;
pub const SERVER_IF: Contexts = 1 << 5;
pub const LOCATION_IF: Contexts = 1 << 6;
pub const LIMIT_EXCEPT: Contexts = 1 << 7;
pub const UPSTREAM: Contexts = 1 << 8;
pub const STREAM: Contexts = 1 << 9;
pub const STREAM_SERVER: Contexts = 1 << 10;
pub const STREAM_UPSTREAM: Contexts = 1 << 11;
pub const MAIL: Contexts = 1 << 12;
pub const MAIL_SERVER: Contexts = 1 << 13;

pub const TO_SERVER: Contexts = HTTP | SERVER;
pub const TO_LOCATION: Contexts = TO_SERVER | LOCATION;
pub const TO_IF: Contexts = TO_LOCATION | LOCATION_IF;
pub const TO_STREAM: Contexts = STREAM | STREAM_SERVER;
pub const TO_MAIL: Contexts = MAIL | MAIL_SERVER;
pub const EVERYWHERE: Contexts = Contexts::MAX;

/// How many arguments: a bit for each number, from 0.
pub type Arity = u16;

pub const T0: Arity = 1;
pub const T1: Arity = 1 << 1;
pub const T2: Arity = 1 << 2;
pub const T3: Arity = 1 << 3;
pub const T4: Arity = 1 << 4;
pub const T01: Arity = T0 | T1;
pub const T012: Arity = T01 | T2;
pub const T12: Arity = T1 | T2;
pub const T123: Arity = T12 | T3;
pub const T1234: Arity = T123 | T4;
pub const T23: Arity = T2 | T3;
/// The last bit stands for all numbers from there on.
pub const ANY: Arity = Arity::MAX;
pub const MORE1: Arity = ANY & !T0;
pub const MORE2: Arity = MORE1 & !T1;

/// How nginx takes what a directive says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    /// `on` or `off`, once.
    Flag,
    /// One word, once.
    Text,
    /// A number, once.
    Number,
    /// A number within bounds, once.
    Within(u64, u64),
    /// Bytes, once.
    Size,
    /// Bytes of a file, once.
    Offset,
    /// A time in milliseconds, once.
    Millis,
    /// A time in seconds, once.
    Seconds,
    /// A number and a size, once.
    Buffers,
    /// A folder and its levels, once.
    Folder,
    /// Rights to a file, once.
    Access,
    /// One of these words, once.
    OneOf(&'static [&'static str]),
    /// Some of these words, as often as one likes.
    SomeOf(&'static [&'static str]),
    /// In a way of its own, once.
    Once,
    /// In a way of its own, as often as one likes.
    Many,
}

/// A directive of a module.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    pub name: &'static str,
    pub contexts: Contexts,
    pub arity: Arity,
    pub set: Set,
    /// It has a block.
    pub block: bool,
    /// The nginx that has it first, where that is newer than 1.22.
    pub since: Option<&'static str>,
}

/// A module with its directives.
#[derive(Clone, Copy, Debug)]
pub struct Module {
    /// As nginx names it, `ngx_http_core_module`.
    pub name: &'static str,
    pub directives: &'static [Known],
}

pub const fn module(name: &'static str, directives: &'static [Known]) -> Module {
    Module { name, directives }
}

pub const fn line(name: &'static str, contexts: Contexts, arity: Arity, set: Set) -> Known {
    Known { name, contexts, arity, set, block: false, since: None }
}

pub const fn block(name: &'static str, contexts: Contexts, arity: Arity, set: Set) -> Known {
    Known { block: true, ..line(name, contexts, arity, set) }
}

impl Known {
    pub const fn since(self, version: &'static str) -> Self {
        Self { since: Some(version), ..self }
    }

    /// Whether it takes that many arguments.
    pub fn takes(&self, arguments: usize) -> bool {
        self.arity >> arguments.min(15) & 1 == 1
    }
}
