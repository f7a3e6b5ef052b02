//! The end-to-end tests: one binary, one file per subject. `support` is the harness.

mod support;

mod at_a_glance;
mod attributes;
mod baseline;
mod consistency;
mod fixation;
mod harness;
mod interleavings;
mod layers;
mod outage;
mod renewal;
mod theft;
mod upstream_tls;
