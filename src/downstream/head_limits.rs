//! What heads may have, where the server that is asked says that.

use std::time::Duration;

use crate::wire::head_room::HeadBuffers;

/// Fields that a head may have at most, whatever a server says.
pub const FIELDS_CEILING: usize = 4096;

/// What heads may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeadLimits {
    /// Where a server says how much room its heads have (nginx `large_client_header_buffers`).
    pub buffers: Option<HeadBuffers>,
    /// Where it says how many fields they have (nginx `max_headers`).
    pub fields_max: Option<usize>,
    /// How long one may take, where a server says that (nginx `client_header_timeout`).
    pub timeout: Option<Duration>,
    /// Another server of the process says something else.
    pub varies: bool,
}
