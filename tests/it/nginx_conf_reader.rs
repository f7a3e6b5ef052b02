//! Our reader of nginx's configuration against the real nginx: the same first mistake, byte for byte.
//!
//! `nginx -t` is asked about files that are wrong in one way each, about every directive of the tables,
//! and about files that were changed at random. `NGINX_DIRECTIVES=all` asks about every directive in every
//! place with every number of arguments; `NGINX_MODULES=FOLDER` loads the modules that Debian packs apart
//! from nginx from there. `NGINX_CONF_MUTATIONS=NUMBER` changes that many files.

mod directives;
mod malformed;
mod mutated;
mod oracle;
