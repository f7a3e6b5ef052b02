//! The session protocol (PROTOCOL.md): ticket, record, jar, policy, `decide`, `settle`.
//!
//! Values and `now` in, decisions out. No I/O, no clock, no randomness of its own.

pub mod decide;
pub mod event;
pub mod jar;
pub mod outcome;
pub mod policy;
pub mod record;
pub mod settle;
pub mod ticket;
