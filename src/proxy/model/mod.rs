//! A model of the session protocol: browsers × two nodes × one store, with requests, logins,
//! renewals, logouts, revocations, lost answers and crashes in any order, against a small
//! reference ([`invariants`], [`legitimate`]).
//!
//! What is modelled is HTTP, the worker and the order in which things happen. What admits
//! a request, settles its answer and keeps its record is the proxy's own code: `admit` with its
//! gates, `Settle` with `carry_out`, `Records` and an engine.
//!
//! `CLOAKROOM_MODEL_CASES` and `CLOAKROOM_MODEL_SEED` (a number) choose how much and what to try.
//! `scripts/mistakes` shows what the model finds when the code is wrong.

mod application;
mod calls;
mod engine;
mod exchange;
mod invariants;
mod legitimate;
mod node;
mod schedule;
mod tests;
mod world;
