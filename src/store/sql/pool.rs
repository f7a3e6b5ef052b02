//! Connections that are kept. Not sqlx's own pool: that one gives back a connection whose call was
//! given up, and waits for the rest of its answer, which a server that hangs never sends. Here a
//! connection is kept only where its call ended well; what failed or took too long is closed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::engine::{Deadlines, Driver, Engine, Role};
use super::group::Group;
use super::operations::{Operation, carry_out};
use crate::session::outcome::Durability;

/// A connection that was not used for so long is tried before a request meets it.
const REST: Duration = Duration::from_secs(1);
/// How often one connection of each pool is tried.
const ROUND: Duration = Duration::from_millis(250);

/// All connections for calls.
pub(super) struct Pools<E: Engine> {
    pub read: Pool<E>,
    pub write: Pool<E>,
    pub durable: Pool<E>,
    pub group: Group,
}

/// Connections with one role.
pub(super) struct Pool<E: Engine> {
    engine: Arc<E>,
    role: Role,
    pub(super) permits: Arc<Semaphore>,
    idle: Mutex<Idle<E::Connection>>,
}

struct Idle<C> {
    /// Of which generation connections are kept.
    generation: u64,
    /// The one used last is the last.
    connections: VecDeque<(C, Instant)>,
}

impl<E: Engine> Pools<E> {
    pub(super) fn new(engine: &Arc<E>) -> Self {
        let (readers, writers) = E::CONNECTIONS;
        // Both kinds of writes share their permits: in SQLite they take turns.
        let writers = Arc::new(Semaphore::new(writers));
        Self {
            read: Pool::new(engine.clone(), Role::Read, Arc::new(Semaphore::new(readers))),
            write: Pool::new(engine.clone(), Role::Write, writers.clone()),
            durable: Pool::new(engine.clone(), Role::Durable, writers),
            group: Group::default(),
        }
    }

    pub(super) fn for_writes(&self, durability: Durability) -> &Pool<E> {
        match durability {
            Durability::Master => &self.write,
            Durability::Replica => &self.durable,
        }
    }

    /// Closes what is kept, and what is in use once its call has ended.
    pub(super) fn clear(&self) {
        for pool in [&self.read, &self.write, &self.durable] {
            let mut idle = pool.idle();
            idle.generation += 1;
            idle.connections.clear();
        }
    }

    /// Tries connections that nobody used for a while, so that no request is the first to find out
    /// that one is dead, and no server takes them for abandoned. Never returns.
    pub(super) async fn tend(&self, deadlines: &Deadlines) {
        loop {
            tokio::time::sleep(ROUND).await;
            for pool in [&self.read, &self.write, &self.durable] {
                let tried = tokio::time::timeout(deadlines.lookup, pool.try_oldest()).await;
                if let Ok(Err(error)) = tried {
                    tracing::debug!(%error, "a connection that was not used is dead");
                }
            }
        }
    }
}

impl<E: Engine> Pool<E> {
    fn new(engine: Arc<E>, role: Role, permits: Arc<Semaphore>) -> Self {
        let idle = Idle { generation: 0, connections: VecDeque::new() };
        Self { engine, role, permits, idle: Mutex::new(idle) }
    }

    fn idle(&self) -> MutexGuard<'_, Idle<E::Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries an operation out on a connection of its own.
    pub(super) async fn perform<O: Operation>(&self, operation: &O) -> sqlx::Result<O::Answer> {
        let _permit = self.permits.acquire().await.map_err(|_| sqlx::Error::PoolClosed)?;
        let (mut connection, generation) = self.take().await?;
        let answer = carry_out::<E, O>(&mut connection, operation).await?;
        self.give_back(connection, generation);
        Ok(answer)
    }

    /// A connection, new where none is kept. The caller holds a permit.
    pub(super) async fn take(&self) -> sqlx::Result<(E::Connection, u64)> {
        let (generation, kept) = {
            let mut idle = self.idle();
            (idle.generation, idle.connections.pop_back())
        };
        let connection = match kept {
            Some((connection, _)) => connection,
            None => self.engine.connect(self.role).await?,
        };
        Ok((connection, generation))
    }

    /// Keeps a connection whose call ended well.
    pub(super) fn give_back(&self, connection: E::Connection, generation: u64) {
        let mut idle = self.idle();
        if idle.generation == generation {
            idle.connections.push_back((connection, Instant::now()));
        }
    }

    async fn try_oldest(&self) -> sqlx::Result<()> {
        let (generation, oldest) = {
            let mut idle = self.idle();
            let rests = |(_, since): &mut (_, Instant)| since.elapsed() >= REST;
            (idle.generation, idle.connections.pop_front_if(rests))
        };
        let Some((mut connection, _)) = oldest else { return Ok(()) };
        connection.run("SELECT 1").await?;
        let mut idle = self.idle();
        if idle.generation == generation {
            // Not the last: calls go on to use as few connections as they need.
            idle.connections.push_back((connection, Instant::now()));
        }
        Ok(())
    }
}
