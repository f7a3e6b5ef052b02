//! What the engine is asked for, as sequences of statements: the same for every database.
//!
//! Rows that are garbage count as not there until the reaper has removed them.

use super::args::{
    self, Announced, Announcement, Batch, EraStep, Key, Lease, Listing, NewEpoch, NewRecord,
    NewVersion, Statement,
};
use super::engine::{Cells, Driver, Engine, Put};
use crate::clock::UnixMillis;
use crate::session::outcome::{Carried, Created, Epoch, Leased, Replaced, Surplus};
use crate::store::{self, LISTED_MAX, Listed, Stored};

/// A call. It may be made again where the first try's end is not known.
pub(super) trait Operation: Send + Sync + 'static {
    type Answer: Send + 'static;
    /// Whether it is one transaction of several statements, where the database needs that.
    const IS_TRANSACTION: bool;

    fn perform<E: Engine>(
        &self,
        connection: &mut E::Connection,
    ) -> impl Future<Output = sqlx::Result<Self::Answer>> + Send;
}

/// Carries it out.
pub(super) async fn carry_out<E: Engine, O: Operation>(
    connection: &mut E::Connection,
    operation: &O,
) -> sqlx::Result<O::Answer> {
    let begin = E::STATEMENTS.begin.filter(|_| O::IS_TRANSACTION);
    let Some(begin) = begin else { return operation.perform::<E>(connection).await };
    connection.run(begin).await?;
    // Where this fails the connection is closed, and the transaction with it.
    let answer = operation.perform::<E>(connection).await?;
    connection.run("COMMIT").await?;
    Ok(answer)
}

async fn put<E: Engine, A: Sync>(
    connection: &mut E::Connection,
    put: &'static Put<A>,
    args: &A,
) -> sqlx::Result<Vec<<E::Connection as Driver>::Row>> {
    match &put.read {
        None => connection.fetch(&put.write, args).await,
        Some(read) => {
            connection.execute(&put.write, args).await?;
            connection.fetch(read, args).await
        }
    }
}

async fn follow_up<E: Engine, A: Sync>(
    connection: &mut E::Connection,
    statement: &'static Option<Statement<A>>,
    args: &A,
) -> sqlx::Result<()> {
    if let Some(statement) = statement {
        connection.execute(statement, args).await?;
    }
    Ok(())
}

async fn load<E: Engine>(
    connection: &mut E::Connection,
    key: &Key,
    with_epoch: bool,
) -> sqlx::Result<Option<Stored>> {
    let statements = E::STATEMENTS;
    let statement = if with_epoch { &statements.load_with_epoch } else { &statements.load };
    let rows = connection.fetch(statement, key).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let epoch = if with_epoch { row.maybe_bytes(2)? } else { None };
    let version = u64::try_from(row.integer(0)?).map_err(|error| decode(error.into()))?;
    let epoch = epoch.map(sixteen).transpose()?.map(Epoch);
    Ok(Some(Stored { version, sealed: row.bytes(1)?, epoch }))
}

/// Reads a record, with the epoch beside it where asked.
pub(super) struct Load {
    pub key: Key,
    pub with_epoch: bool,
}

impl Operation for Load {
    type Answer = Option<Stored>;
    const IS_TRANSACTION: bool = false;

    async fn perform<E: Engine>(
        &self,
        connection: &mut E::Connection,
    ) -> sqlx::Result<Self::Answer> {
        load::<E>(connection, &self.key, self.with_epoch).await
    }
}

/// Inserts a record, over one that is garbage if need be.
pub(super) struct Create(pub NewRecord);

impl Operation for Create {
    type Answer = Created;
    const IS_TRANSACTION: bool = true;

    async fn perform<E: Engine>(&self, connection: &mut E::Connection) -> sqlx::Result<Created> {
        if !put::<E, _>(connection, &E::STATEMENTS.create, &self.0).await?.is_empty() {
            return Ok(Created::Created);
        }
        // Ours, if an earlier try of this call put it there. Gone by now: another had it.
        let there = load::<E>(connection, &self.0.key(), false).await?;
        Ok(match there {
            Some(there) if there.version == 1 && there.sealed == self.0.sealed => Created::Created,
            Some(_) | None => Created::Taken,
        })
    }
}

/// Replaces a record in one statement, so that of two writers one finds another version.
pub(super) struct Replace {
    pub new: NewVersion,
    pub is_fenced: bool,
}

impl Operation for Replace {
    type Answer = Replaced;
    const IS_TRANSACTION: bool = true;

    async fn perform<E: Engine>(&self, connection: &mut E::Connection) -> sqlx::Result<Replaced> {
        let (statements, new, key) = (E::STATEMENTS, &self.new, self.new.key());
        if let (true, Some(fence)) = (self.is_fenced, &statements.fence)
            && connection.fetch(fence, new).await?.is_empty()
        {
            return Ok(Replaced::Gone);
        }
        let replace = if self.is_fenced { &statements.replace_fenced } else { &statements.replace };
        if connection.execute(replace, new).await? == 1 {
            follow_up::<E, _>(connection, &statements.after_record, &key).await?;
            return Ok(Replaced::Replaced);
        }
        Ok(match load::<E>(connection, &key, self.is_fenced).await? {
            Some(there) if self.is_fenced && !new.is_of(there.epoch) => Replaced::Gone,
            Some(there) if new.is(&there) => {
                follow_up::<E, _>(connection, &statements.after_record, &key).await?;
                Replaced::Replaced
            }
            Some(_) => Replaced::Conflict,
            None => Replaced::Gone,
        })
    }
}

/// Replaces an epoch and a record of it, in a transaction of its own. The epoch comes first, as in a
/// replacement that is fenced by it: whoever waits for the one lock holds none of the other.
pub(super) struct CarryOn {
    pub epoch: NewEpoch,
    pub new: NewVersion,
}

impl Operation for CarryOn {
    type Answer = Carried;
    const IS_TRANSACTION: bool = false;

    async fn perform<E: Engine>(&self, connection: &mut E::Connection) -> sqlx::Result<Carried> {
        let (statements, Self { epoch, new }, key) = (E::STATEMENTS, self, self.new.key());
        // Where several statements are one write, telling of it is one of them; else it follows.
        let tells_within = statements.begin.is_some();
        connection.run(statements.begin_several).await?;
        let mut carried = Carried::Gone;
        if connection.execute(&statements.carry_epoch, epoch).await? == 1 {
            carried = match connection.execute(&statements.replace, new).await? {
                1 => Carried::Carried(unlist::<E>(connection, &key).await?),
                _ => Carried::Conflict,
            };
        }
        if !matches!(carried, Carried::Carried(_)) {
            connection.run("ROLLBACK").await?;
            let Some(there) = load::<E>(connection, &key, true).await? else {
                return Ok(Carried::Gone);
            };
            // Ours, if an earlier try of this call was carried out.
            if there.epoch == Some(Epoch(epoch.epoch)) && new.is(&there) {
                follow_up::<E, _>(connection, &statements.after_record, &key).await?;
                follow_up::<E, _>(connection, &statements.after_tag, epoch).await?;
                return Ok(Carried::Carried(0));
            }
            return Ok(carried);
        }
        if tells_within {
            follow_up::<E, _>(connection, &statements.after_record, &key).await?;
            follow_up::<E, _>(connection, &statements.after_tag, epoch).await?;
        }
        connection.run("COMMIT").await?;
        if !tells_within {
            follow_up::<E, _>(connection, &statements.after_tag, epoch).await?;
        }
        Ok(carried)
    }
}

/// Takes what is left of a tag out of its list.
async fn unlist<E: Engine>(connection: &mut E::Connection, besides: &Key) -> sqlx::Result<usize> {
    let count = connection.execute(&E::STATEMENTS.unlist, besides).await?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

pub(super) struct Remove(pub Key);

impl Operation for Remove {
    type Answer = ();
    const IS_TRANSACTION: bool = true;

    async fn perform<E: Engine>(&self, connection: &mut E::Connection) -> sqlx::Result<()> {
        // Also where it was gone: an earlier try of this call may have been broken off in between.
        connection.execute(&E::STATEMENTS.remove, &self.0).await?;
        follow_up::<E, _>(connection, &E::STATEMENTS.after_record, &self.0).await
    }
}

/// Reads the epoch of a tag, or makes it.
pub(super) struct MakeEpoch(pub NewEpoch);

impl Operation for MakeEpoch {
    type Answer = Epoch;
    const IS_TRANSACTION: bool = true;

    async fn perform<E: Engine>(&self, connection: &mut E::Connection) -> sqlx::Result<Epoch> {
        let rows = put::<E, _>(connection, &E::STATEMENTS.epoch, &self.0).await?;
        sixteen(first(&rows)?.bytes(0)?).map(Epoch)
    }
}

/// Replaces the epoch of a tag.
pub(super) struct Revoke(pub NewEpoch);

impl Operation for Revoke {
    type Answer = Option<Epoch>;
    const IS_TRANSACTION: bool = true;

    async fn perform<E: Engine>(
        &self,
        connection: &mut E::Connection,
    ) -> sqlx::Result<Option<Epoch>> {
        let rows = put::<E, _>(connection, &E::STATEMENTS.revoke, &self.0).await?;
        let previous = first(&rows)?.maybe_bytes(0)?;
        // Nobody's identifier is zero: it is a hash.
        let all = Key { tag: self.0.tag, id: [0; 16], now: self.0.now };
        unlist::<E>(connection, &all).await?;
        follow_up::<E, _>(connection, &E::STATEMENTS.after_tag, &self.0).await?;
        previous.map(sixteen).transpose().map(|previous| previous.map(Epoch))
    }
}

pub(super) struct List(pub Listing);

impl Operation for List {
    type Answer = Listed;
    const IS_TRANSACTION: bool = false;

    async fn perform<E: Engine>(&self, connection: &mut E::Connection) -> sqlx::Result<Listed> {
        let rows = connection.fetch(&E::STATEMENTS.list, &self.0).await?;
        let ids: Vec<_> =
            rows.iter().map(|row| sixteen(row.bytes(0)?)).collect::<sqlx::Result<_>>()?;
        if ids.len() < LISTED_MAX {
            return Ok(Listed { total: ids.len(), ids });
        }
        let rows = connection.fetch(&E::STATEMENTS.count, &self.0).await?;
        let count = usize::try_from(first(&rows)?.integer(0)?).unwrap_or_default();
        Ok(Listed { total: count.max(ids.len()), ids })
    }
}

/// Reads which of a tag's records that count are beyond so many.
pub(super) struct Beyond {
    pub surplus: args::Surplus,
    pub ends: Surplus,
}

impl Operation for Beyond {
    type Answer = Vec<[u8; 16]>;
    const IS_TRANSACTION: bool = false;

    async fn perform<E: Engine>(
        &self,
        connection: &mut E::Connection,
    ) -> sqlx::Result<Vec<[u8; 16]>> {
        let statement = match self.ends {
            Surplus::Oldest => &E::STATEMENTS.oldest,
            Surplus::Newest => &E::STATEMENTS.newest,
        };
        let rows = connection.fetch(statement, &self.surplus).await?;
        rows.iter().map(|row| sixteen(row.bytes(0)?)).collect()
    }
}

pub(super) struct ReadEra;

impl Operation for ReadEra {
    type Answer = u32;
    const IS_TRANSACTION: bool = false;

    async fn perform<E: Engine>(&self, connection: &mut E::Connection) -> sqlx::Result<u32> {
        let rows = connection.fetch(&E::STATEMENTS.era, &()).await?;
        rows.first().map_or(Ok(0), |row| era_of(row.integer(0)?))
    }
}

/// Moves the era on by `step` from the one in the store, or from `era` where that is later.
pub(super) struct MoveEra(pub EraStep);

impl Operation for MoveEra {
    type Answer = u32;
    const IS_TRANSACTION: bool = true;

    async fn perform<E: Engine>(&self, connection: &mut E::Connection) -> sqlx::Result<u32> {
        let rows = put::<E, _>(connection, &E::STATEMENTS.move_era, &self.0).await?;
        era_of(first(&rows)?.integer(0)?)
    }
}

pub(super) struct TakeLease(pub Lease);

impl Operation for TakeLease {
    type Answer = Leased;
    const IS_TRANSACTION: bool = true;

    async fn perform<E: Engine>(&self, connection: &mut E::Connection) -> sqlx::Result<Leased> {
        let rows = put::<E, _>(connection, &E::STATEMENTS.lease, &self.0).await?;
        Ok(if rows.is_empty() { Leased::Busy } else { Leased::Taken })
    }
}

pub(super) struct Release(pub Lease);

impl Operation for Release {
    type Answer = ();
    const IS_TRANSACTION: bool = false;

    async fn perform<E: Engine>(&self, connection: &mut E::Connection) -> sqlx::Result<()> {
        connection.execute(&E::STATEMENTS.release, &self.0).await.map(drop)
    }
}

/// Says something of this node; the store's time.
pub(super) struct Announce(pub Announcement);

impl Operation for Announce {
    type Answer = UnixMillis;
    const IS_TRANSACTION: bool = false;

    async fn perform<E: Engine>(&self, connection: &mut E::Connection) -> sqlx::Result<UnixMillis> {
        let rows = put::<E, _>(connection, &E::STATEMENTS.announce, &self.0).await?;
        Ok(UnixMillis(first(&rows)?.integer(0)?.unsigned_abs()))
    }
}

/// Reads what nodes say of themselves.
pub(super) struct ReadAnnounced(pub Announced);

impl Operation for ReadAnnounced {
    type Answer = Vec<store::Announcement>;
    const IS_TRANSACTION: bool = false;

    async fn perform<E: Engine>(
        &self,
        connection: &mut E::Connection,
    ) -> sqlx::Result<Self::Answer> {
        let rows = connection.fetch(&E::STATEMENTS.announced, &self.0).await?;
        // Who is not named by 16 bytes is no node.
        let announcements = rows.iter().filter_map(|row| {
            let node = sixteen(row.bytes(0).ok()?).ok()?;
            Some(store::Announcement { node, text: row.bytes(1).ok()? })
        });
        Ok(announcements.collect())
    }
}

/// Removes a batch of garbage; how many rows it was.
pub(super) struct Reap {
    pub statement: &'static Statement<Batch>,
    pub batch: Batch,
}

impl Operation for Reap {
    type Answer = u64;
    const IS_TRANSACTION: bool = false;

    async fn perform<E: Engine>(&self, connection: &mut E::Connection) -> sqlx::Result<u64> {
        connection.execute(self.statement, &self.batch).await
    }
}

fn first<R>(rows: &[R]) -> sqlx::Result<&R> {
    rows.first().ok_or(sqlx::Error::RowNotFound)
}

pub(super) fn sixteen(bytes: Vec<u8>) -> sqlx::Result<[u8; 16]> {
    bytes.try_into().map_err(|_| decode("not 16 bytes".into()))
}

fn era_of(value: i64) -> sqlx::Result<u32> {
    u32::try_from(value).map_err(|error| decode(error.into()))
}

pub(super) fn decode(error: Box<dyn std::error::Error + Send + Sync>) -> sqlx::Error {
    sqlx::Error::Decode(error)
}
