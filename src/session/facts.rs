//! What is known of a request besides its ticket, before anything is looked up.

use crate::session::binding::Bearer;
use crate::session::outage::OnStoreDown;
use crate::session::policy::CrossSite;

/// What a request asks of its session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Intent {
    /// To be served with it.
    #[default]
    Use,
    /// The request part of a login rule fits; whether other sites may send it (rule 24).
    Login(CrossSite),
    /// The request part of a logout rule fits, and of no login rule.
    Logout,
    /// Nothing: it is a CORS preflight (rule 31).
    Preflight,
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// Not from another site, as far as is known. Nobody asks of requests with a ticket that write
    /// nothing.
    #[default]
    Own,
    CrossSite,
}

/// Whom a route is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    #[default]
    Anybody,
    /// `require: login` (rule 31).
    LoggedIn,
}

/// Whether a request takes turns with others of its session (rule 32).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Turns {
    #[default]
    None,
    Takes,
}

/// Whether a request may wait for a login any longer (rule 18).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Patience {
    #[default]
    Left,
    Over,
}

/// What goes on at the gate of the session on this node (rule 18).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GateState {
    #[default]
    Open,
    /// A login is about to suspend the record, and did not let this request wait any longer.
    Login,
}

/// What is known of a request besides its ticket.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    pub intent: Intent,
    pub origin: Origin,
    pub access: Access,
    pub turns: Turns,
    /// A random number that tells this login from all others.
    pub attempt: u64,
    pub patience: Patience,
    pub gate: GateState,
    /// Whoever presents the ticket; given where that matters to the policy.
    pub bearer: Option<&'a Bearer>,
    /// The node's number, by which it moves idle deadlines at other times than others do.
    pub node: u16,
    /// What the route wants while the store does not answer.
    pub on_store_down: OnStoreDown,
}

impl Facts<'_> {
    /// Whether it tries to log in.
    pub fn is_login(&self) -> bool {
        matches!(self.intent, Intent::Login(_))
    }

    /// Whether it is a login that comes from where it must not.
    pub(super) fn is_foreign_login(&self) -> bool {
        self.intent == Intent::Login(CrossSite::Deny) && self.origin == Origin::CrossSite
    }
}
