//! Connections that are kept. Not sqlx's own pool: that one gives back a connection whose call was
//! given up, and waits for the rest of its answer, which a server that hangs never sends. Here a
//! connection is kept only where its call ended well; what failed or took too long is closed.
//!
//! To connect can take longer than a call may. It goes on when the call is given up, so that the
//! next one finds the connection.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use super::engine::{Deadlines, Driver, Engine, Role};
use super::group::Group;
use super::operations::{Operation, carry_out};
use crate::session::outcome::Durability;

/// A connection that was not used for so long is tried before a request meets it.
const REST: Duration = Duration::from_secs(1);
/// How long a connection may take to be made, whatever its call may.
pub(super) const CONNECT_DEADLINE: Duration = Duration::from_secs(2);
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
    /// For connections that are being made: as many as may be in use.
    making: Arc<Semaphore>,
    idle: Arc<Mutex<Idle<E::Connection>>>,
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
        let making = Arc::new(Semaphore::new(permits.available_permits()));
        Self { engine, role, permits, making, idle: Arc::new(Mutex::new(idle)) }
    }

    fn idle(&self) -> MutexGuard<'_, Idle<E::Connection>> {
        lock(&self.idle)
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
            None => self.make(generation).await?,
        };
        Ok((connection, generation))
    }

    async fn make(&self, generation: u64) -> sqlx::Result<E::Connection> {
        let making = self.making.clone().acquire_owned().await;
        let making = making.map_err(|_| sqlx::Error::PoolClosed)?;
        let (engine, role, idle) = (self.engine.clone(), self.role, self.idle.clone());
        let (made, awaited) = oneshot::channel();
        tokio::spawn(async move {
            let connected = timeout(CONNECT_DEADLINE, engine.connect(role)).await;
            let connected = connected.unwrap_or(Err(sqlx::Error::PoolTimedOut));
            if let Err(Ok(connection)) = made.send(connected) {
                lock(&idle).keep(connection, generation);
            }
            drop(making);
        });
        awaited.await.map_err(|_| sqlx::Error::PoolClosed)?
    }

    /// Keeps a connection whose call ended well.
    pub(super) fn give_back(&self, connection: E::Connection, generation: u64) {
        self.idle().keep(connection, generation);
    }

    async fn try_oldest(&self) -> sqlx::Result<()> {
        let (generation, oldest) = {
            let mut idle = self.idle();
            let rests = |(_, since): &mut (_, Instant)| since.elapsed() >= REST;
            (idle.generation, idle.connections.pop_front_if(rests))
        };
        let Some((mut connection, _)) = oldest else { return Ok(()) };
        connection.run("SELECT 1").await?;
        self.give_back(connection, generation);
        Ok(())
    }
}

impl<C> Idle<C> {
    fn keep(&mut self, connection: C, generation: u64) {
        if self.generation == generation {
            self.connections.push_back((connection, Instant::now()));
        }
    }
}

/// Each change under it is a single statement, so a panic elsewhere did no harm.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
