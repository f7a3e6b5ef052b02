//! What is kept of a request's body while it goes to a worker.

/// Bytes of a body that are held for another try.
const AGAIN_MAX: usize = 64 * 1024;

/// Bytes of a body that variables may speak of; there is no value of a larger one (nginx
/// `client_body_buffer_size`).
const COPY_MAX: usize = 16 * 1024;

/// What is kept of a body; nothing of one that is larger than it may be.
#[derive(Debug)]
pub struct Kept {
    /// What was sent so far, where it may have to be sent again.
    again: Option<Vec<u8>>,
    /// What came so far, for variables.
    copy: Option<Vec<u8>>,
}

impl Kept {
    /// Of a body that has not begun. With `may_repeat`, its beginning is held.
    pub fn new(may_repeat: bool) -> Self {
        Self { again: may_repeat.then(Vec::new), copy: None }
    }

    /// Keeps a small body for variables.
    pub fn keep_copy(&mut self) {
        self.copy = Some(Vec::new());
    }

    /// Notes a piece that was sent.
    pub fn note(&mut self, piece: &[u8]) {
        extend(&mut self.copy, piece, COPY_MAX);
        extend(&mut self.again, piece, AGAIN_MAX);
    }

    /// All that was sent, where it can be sent again.
    pub fn again(&self) -> Option<&[u8]> {
        self.again.as_deref()
    }

    /// All that came, for variables, where there is something.
    pub fn copy(&self) -> Option<&[u8]> {
        self.copy.as_deref().filter(|copy| !copy.is_empty())
    }

    /// Bytes that are held for another try.
    pub fn held(&self) -> usize {
        self.again.as_ref().map_or(0, Vec::capacity)
    }
}

/// Adds to what is kept, or gives that up where it gets too large.
fn extend(kept: &mut Option<Vec<u8>>, piece: &[u8], max: usize) {
    match kept {
        Some(bytes) if bytes.len() + piece.len() <= max => bytes.extend_from_slice(piece),
        kept => *kept = None,
    }
}
