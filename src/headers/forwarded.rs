//! `X-Forwarded-*` and who the client is.
