//! `X-Session-*`: removed from what clients send, set from the record (rule 30).
