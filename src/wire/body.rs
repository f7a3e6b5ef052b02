//! Bodies, piece by piece, whatever their framing.

use super::chunked::{Chunk, ChunkFlaw, ChunkedDecoder};
use super::fields::Fields;
use super::framing::Framing;

/// One body being read.
#[derive(Debug)]
pub enum BodyDecoder {
    /// So many bytes are still to come.
    Length(u64),
    Chunked(Box<ChunkedDecoder>),
    /// Everything until the connection closes.
    UntilClose,
}

/// What was found in the bytes handed in; as [`Chunk`].
#[derive(Debug)]
pub enum Piece {
    /// So many of the bytes, behind those that are to be skipped, are data.
    Data { skip: usize, length: usize },
    /// The body ended after so many bytes.
    End { skip: usize, trailers: Option<Box<Fields>> },
    /// All bytes were taken; more must come.
    More,
}

/// The connection closed before the body was complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incomplete;

impl BodyDecoder {
    /// A decoder for a body of this framing. A tunnel has none: whoever reads it takes what comes.
    pub fn new(framing: Framing) -> Self {
        match framing {
            Framing::Empty => Self::Length(0),
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Box::default()),
            Framing::UntilClose | Framing::Tunnel => Self::UntilClose,
        }
    }

    /// Looks at what has arrived. The caller skips and takes what it is told of before it calls
    /// again.
    ///
    /// # Errors
    /// A flaw of the chunks.
    pub fn decode(&mut self, input: &[u8]) -> Result<Piece, ChunkFlaw> {
        match self {
            Self::Length(0) => Ok(Piece::End { skip: 0, trailers: None }),
            Self::Length(_) | Self::UntilClose if input.is_empty() => Ok(Piece::More),
            Self::Length(left) => {
                let length =
                    usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
                *left -= length as u64;
                Ok(Piece::Data { skip: 0, length })
            }
            Self::UntilClose => Ok(Piece::Data { skip: 0, length: input.len() }),
            Self::Chunked(decoder) => Ok(match decoder.decode(input)? {
                Chunk::Data { skip, length } => Piece::Data { skip, length },
                Chunk::End { skip, trailers } => Piece::End { skip, trailers },
                Chunk::More => Piece::More,
            }),
        }
    }

    /// Whether nothing more is to come. A chunked body says so in [`Piece::End`] only.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Length(0))
    }

    /// The connection has closed, and everything before that was decoded.
    ///
    /// # Errors
    /// [`Incomplete`]: what was read must not look like the whole.
    pub fn close(&self) -> Result<(), Incomplete> {
        match self {
            Self::Length(0) | Self::UntilClose => Ok(()),
            Self::Length(_) | Self::Chunked(_) => Err(Incomplete),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_counted_down_and_no_further() {
        let mut body = BodyDecoder::new(Framing::Length(5));
        assert!(matches!(body.decode(b""), Ok(Piece::More)));
        assert!(matches!(body.decode(b"abc"), Ok(Piece::Data { skip: 0, length: 3 })));
        assert_eq!((body.is_over(), body.close()), (false, Err(Incomplete)));
        assert!(matches!(body.decode(b"deGET"), Ok(Piece::Data { skip: 0, length: 2 })));
        assert_eq!((body.is_over(), body.close()), (true, Ok(())));
        assert!(matches!(body.decode(b"GET"), Ok(Piece::End { skip: 0, trailers: None })));
    }

    #[test]
    fn an_empty_body_is_over_at_once() {
        let mut body = BodyDecoder::new(Framing::Empty);
        assert!(body.is_over());
        assert!(matches!(body.decode(b"GET"), Ok(Piece::End { skip: 0, .. })));
    }

    #[test]
    fn what_ends_with_the_connection_is_whole_then() {
        let mut body = BodyDecoder::new(Framing::UntilClose);
        assert!(matches!(body.decode(b"abc"), Ok(Piece::Data { skip: 0, length: 3 })));
        assert_eq!((body.is_over(), body.close()), (false, Ok(())));
    }

    /// An answer that ends too early must not look complete (nginx 35).
    #[test]
    fn chunks_without_the_last_one_are_not_whole() {
        let mut body = BodyDecoder::new(Framing::Chunked);
        assert!(matches!(body.decode(b"3\r\nabc"), Ok(Piece::Data { skip: 3, length: 3 })));
        assert!(matches!(body.decode(b"\r\n0\r\n"), Ok(Piece::More)));
        assert_eq!(body.close(), Err(Incomplete));
        assert!(matches!(body.decode(b"\r\nGET"), Ok(Piece::End { skip: 2, .. })));
    }
}
