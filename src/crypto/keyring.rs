//! The key ring (PROTOCOL.md 3, 4).
