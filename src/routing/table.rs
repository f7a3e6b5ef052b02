//! The table of servers and routes.
