//! The end-to-end tests: one binary, one file per subject. `support` is the harness.

mod support;

mod baseline;
mod fixation;
mod harness;
mod layers;
