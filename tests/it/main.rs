//! The end-to-end tests: one binary, one file per subject. `support` is the harness.

mod support;

mod access_log;
mod affinity;
mod at_a_glance;
mod attributes;
mod baseline;
mod binding;
mod chromium;
mod consistency;
mod cookie_bytes;
mod cross_site;
mod fixation;
mod guard;
mod harness;
mod headers;
mod interleavings;
mod keys;
mod layers;
mod modes;
mod operations;
mod order;
mod outage;
mod own_sessions;
mod proxying;
mod remember;
mod renewal;
mod revocation;
mod routing;
mod rules;
mod scope;
mod streams;
mod subjects;
mod theft;
mod tls;
mod upstream_tls;
