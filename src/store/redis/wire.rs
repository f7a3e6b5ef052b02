//! A connection as a call sees it: in a cluster, a command may have to say ASKING first.

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Cmd, ErrorKind, Pipeline, RedisError, RedisFuture, Value};

/// A connection on which every command follows an ASKING, where that is needed: the server then
/// answers for a slot that is still on its way to it.
#[derive(Clone)]
pub(super) struct Wire {
    connection: MultiplexedConnection,
    is_asking: bool,
}

impl Wire {
    pub(super) fn new(connection: MultiplexedConnection, is_asking: bool) -> Self {
        Self { connection, is_asking }
    }

    /// For commands that are not about keys.
    pub(super) fn plain(&mut self) -> &mut MultiplexedConnection {
        &mut self.connection
    }
}

impl ConnectionLike for Wire {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        if !self.is_asking {
            return self.connection.req_packed_command(cmd);
        }
        Box::pin(async move {
            // In one piece: nothing may come in between.
            let mut both = Pipeline::with_capacity(2);
            both.cmd("ASKING").add_command(cmd.clone());
            let mut values = self.connection.req_packed_commands(&both, 1, 1).await?;
            let none = || RedisError::from((ErrorKind::UnexpectedReturnType, "no answer"));
            values.pop().ok_or_else(none)
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        // Nobody does: each command would need an ASKING of its own.
        self.connection.req_packed_commands(pipeline, offset, count)
    }

    fn get_db(&self) -> i64 {
        self.connection.get_db()
    }
}
