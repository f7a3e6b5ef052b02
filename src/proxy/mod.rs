//! The exchange: from a request to its answer, one file for each of its steps. What is decided, is
//! decided in `session`, `routing` and `upstream`; here it is carried out.

mod access;
mod admit;
mod answer_beginning;
mod answering;
mod asking;
pub mod buffers;
mod context;
pub mod cut;
mod deliver;
mod endpoint;
pub mod error;
pub mod error_page;
pub mod exchange;
mod finish;
mod forward;
pub mod gate;
mod join;
mod lease;
pub mod limit;
mod login_again;
pub mod mass_logout;
pub mod merging;
#[cfg(test)]
mod model;
mod modes;
pub mod open_streams;
pub mod own_sessions;
mod pages;
pub mod pass;
pub mod replaced_seals;
mod respond;
mod response;
mod route;
mod session_limit;
pub mod settings;
mod settle;
mod settled;
pub mod shared;
pub mod successions;
pub mod ticket_cache;
pub mod touches;
mod tunnel;
mod turn;
mod turns;
mod upload;
mod worker;
