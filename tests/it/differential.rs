//! nginx's own configuration in nginx's place: one list of files and raw requests. Each file is served by
//! a real nginx and by `cloakroom import --run`; whatever one of the two answers, and whatever its worker
//! sees, the other one must answer and its worker see.
//!
//! A theme is a file under `differential/` with `pub fn groups() -> Vec<Group>`, two lines below.
//! Deliberate differences are marked in place ([`Group::differs`]); docs/migrating-from-nginx.md has the
//! same sentence.

mod access;
mod answering;
mod applications;
mod balancing;
mod bodies;
mod choosing;
mod compare;
mod compressed;
mod connections;
mod group;
mod handshakes;
mod heads;
mod named;
mod patterns;
mod plain;
mod rewriting;
mod run;
mod secure;
mod served;
mod slashes;
mod trying;
mod verified;
mod workers;

use group::Group;

macro_rules! themes {
    ($($theme:ident)*) => {
        fn all() -> Vec<Group> {
            [$($theme::groups(),)*].concat()
        }

        mod like_nginx {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $theme() {
                super::run::all(super::$theme::groups()).await;
            })*
        }
    };
}

themes! {
    access
    answering
    applications
    balancing
    bodies
    choosing
    compressed
    connections
    handshakes
    heads
    named
    patterns
    plain
    rewriting
    secure
    served
    slashes
    trying
    verified
    workers
}

#[test]
fn each_group_has_a_name_of_its_own() {
    let mut names: Vec<_> = all().iter().map(|group| group.name).collect();
    names.sort_unstable();
    assert_eq!(names.windows(2).find(|two| two[0] == two[1]), None);
}

#[test]
fn each_difference_is_explained_in_the_documents() {
    let page = include_str!("../../docs/migrating-from-nginx.md");
    let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
    for group in all() {
        for case in &group.cases {
            let Some(reason) = case.differs else { continue };
            assert!(page.contains(reason), "not in docs/migrating-from-nginx.md: {reason}");
        }
    }
}
