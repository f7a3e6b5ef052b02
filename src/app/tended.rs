//! Endpoints that are looked after: their names are looked up, and they are asked how they are, as long as
//! a configuration has them.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::generation::Generation;
use crate::proxy::prober;
use crate::proxy::shared::{Shared, Upstream};
use crate::upstream::group::Group;
use crate::upstream::names::follow::{self, Followed};
use crate::upstream::way::Ways;

/// All of them.
#[derive(Default)]
pub(super) struct Tended(Vec<One>);

/// The endpoints of one upstream.
struct One {
    group: Arc<Group>,
    way: Ways,
    /// They end with it.
    _tasks: JoinSet<()>,
}

impl One {
    fn is_of(&self, generation: &Generation, upstream: usize) -> bool {
        let group = &generation.shared.upstreams[upstream].group;
        Arc::ptr_eq(&self.group, group) && self.way.has(&generation.ways, upstream)
    }
}

impl Tended {
    /// Begins with those that nobody looks after yet, on the runtime that calls it. Returns with the first
    /// answers to their names, or without those that take too long.
    pub async fn begin(&mut self, generation: &Generation) {
        let (looking, first) = mpsc::channel(1);
        let Generation { shared, ways, .. } = generation;
        for (index, upstream) in shared.upstreams.iter().enumerate() {
            if self.0.iter().any(|one| one.is_of(generation, index)) {
                continue;
            }
            let mut tasks = JoinSet::new();
            for followed in followed(shared, upstream) {
                tasks.spawn(follow::follow(followed, shared.clock.clone(), looking.clone()));
            }
            let (group, clock) = (upstream.group.clone(), shared.clock.clone());
            if group.settings().check.is_some() {
                tasks.spawn(prober::watch(group, ways.only(index), clock));
            }
            let (group, way) = (upstream.group.clone(), ways.only(index));
            self.0.push(One { group, way, _tasks: tasks });
        }
        drop(looking);
        follow::first(first).await;
    }

    /// Looks after no others any more.
    pub fn keep(&mut self, generation: &Generation) {
        let upstreams = 0..generation.shared.upstreams.len();
        self.0.retain(|one| upstreams.clone().any(|index| one.is_of(generation, index)));
    }
}

/// The names of an upstream that are looked up again and again.
fn followed(shared: &Shared, upstream: &Upstream) -> Vec<Followed> {
    let group = &upstream.group;
    let Some(by) = group.settings().resolved_by else { return Vec::new() };
    let Some(resolver) = shared.resolvers.get(by.resolver) else { return Vec::new() };
    let names = 0..group.settings().names.len();
    names.map(|name| Followed::new(group.clone(), name, resolver.clone(), by.timeout)).collect()
}
