//! The session protocol (PROTOCOL.md): ticket, record, jar, policy, `decide`, `settle`.
//!
//! Values and `now` in, decisions out. No I/O, no clock, no randomness of its own.

pub mod admission;
pub mod answer_body;
pub mod binding;
pub mod carried;
pub mod command;
pub mod decide;
pub mod event;
pub mod exchange;
pub mod facts;
pub mod harden;
pub mod jar;
pub mod limit;
pub mod mass_logout;
pub mod matching;
pub mod order;
pub mod outage;
pub mod outcome;
pub mod own;
pub mod parked;
pub mod policy;
pub mod record;
pub mod seal;
pub mod seed;
pub mod settle;
pub mod stream;
pub mod subject;
pub mod ticket;
pub mod turn_queue;
pub mod view;

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use crate::cookie::enforce::SameSite;
    use crate::routing::path::PathRule;
    use crate::session::order::{Order, Serialize};
    use crate::session::outage::OnStoreDown;
    use crate::session::policy::{
        CookiesHold, CrossSite, JarLimits, LoginRule, LogoutRule, Mode, OnAppDelete, OnReuse,
        Policy, Remember, RequestPart, Rotate, SiteData, SuccessPart, TicketCookie, Timeouts, Told,
    };

    /// The policy that the tests of this module share.
    pub(crate) fn policy() -> Policy {
        let path = |path: &str| PathRule::new(path, false).expect("a good path");
        let post = |at: &str| RequestPart { method: Some(http::Method::POST), path: path(at) };
        Policy {
            name: "shop".to_owned(),
            mode: Mode::Vault,
            cookie: TicketCookie {
                name: "__Host-shop".to_owned(),
                same_site: SameSite::Lax,
                domain: None,
                secure: true,
                remember: Remember::Never,
            },
            app_cookies: vec!["EGG_SESS".to_owned(), "EGG_SESS.sig".to_owned()],
            timeouts: Timeouts {
                idle: Duration::from_secs(1800),
                absolute: Duration::from_secs(43_200),
                renew_every: Duration::from_secs(900),
                grace: Duration::from_secs(60),
                anonymous: Duration::from_secs(900),
            },
            app_cookies_hold: CookiesHold::Content,
            idle_counts_streams: true,
            on_reuse: OnReuse::Revoke,
            on_app_delete: OnAppDelete::Guard,
            login: vec![LoginRule {
                request: Some(post("/login")),
                success: SuccessPart {
                    status: vec![302],
                    location: Some(path("/account/")),
                    ..SuccessPart::default()
                },
                failure: Vec::new(),
                rotate: Rotate::Always,
                cross_site: CrossSite::Deny,
                subject: None,
            }],
            logout: vec![LogoutRule {
                request: post("/logout"),
                success: SuccessPart::default(),
                clear_site_data: vec![SiteData::Cache, SiteData::Storage],
            }],
            serialize: Order {
                requests: Serialize::Login,
                wait: Duration::from_secs(2),
                fleet: false,
            },
            jar: JarLimits::default(),
            anonymous_per_minute: 60,
            anonymous_waiting: 1000,
            login_attempts_per_minute: 60,
            users: "shop".to_owned(),
            bind: None,
            session_limit: None,
            own_sessions: false,
            on_store_down: OnStoreDown::Reject,
            identity: Told::default(),
        }
    }
}
