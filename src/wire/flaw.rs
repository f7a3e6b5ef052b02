//! What is wrong with a message, and the status that says so.

use thiserror::Error;

use super::chunked::ChunkFlaw;
use super::name::Name;

/// nginx's own status for fields that do not fit, so that `error_page` can name it; clients see 400.
pub const HEAD_TOO_LARGE: u16 = 494;

/// Why a request is refused. Messages name no value: they go to logs.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum RequestFlaw {
    #[error("the request line is not `method SP target SP HTTP-version`")]
    RequestLine,
    #[error("the request line is too long")]
    RequestLineTooLong,
    #[error("a version of HTTP that is not spoken here")]
    Version,
    #[error("a field line that is none")]
    FieldLine,
    #[error("too many fields")]
    TooManyFields,
    #[error("the head is too large")]
    HeadTooLarge,
    #[error("a field, or all fields together, are too long for the buffers")]
    FieldsTooLarge,
    #[error("more fields than `max_headers` allows")]
    FieldsBeyondMax,
    #[error("the field {} comes more than once", .0.as_str())]
    Doubled(Name),
    #[error("no Host field")]
    NoHost,
    #[error("Content-Length is no number")]
    Length,
    #[error("both Content-Length and Transfer-Encoding")]
    LengthAndCoding,
    #[error("Transfer-Encoding in an HTTP/1.0 request")]
    CodingInHttp10,
    #[error("a transfer coding other than `chunked`")]
    Coding,
    #[error("an expectation other than `100-continue`")]
    Expectation,
    #[error("the chunked body: {0}")]
    Chunk(#[from] ChunkFlaw),
}

impl RequestFlaw {
    /// The status of the answer (RFC 9110 section 15.5 and 15.6; 431: RFC 6585 section 5).
    pub const fn status(self) -> u16 {
        match self {
            Self::RequestLine
            | Self::FieldLine
            | Self::FieldsBeyondMax
            | Self::Doubled(_)
            | Self::NoHost
            | Self::Length
            | Self::LengthAndCoding
            | Self::CodingInHttp10 => 400,
            Self::Chunk(flaw) => match flaw {
                ChunkFlaw::TrailersTooLarge => 431,
                ChunkFlaw::Size
                | ChunkFlaw::SizeTooLarge
                | ChunkFlaw::Extension
                | ChunkFlaw::ExtensionsTooLong
                | ChunkFlaw::DataEnd
                | ChunkFlaw::Trailers => 400,
            },
            Self::RequestLineTooLong => 414,
            Self::Expectation => 417,
            Self::TooManyFields | Self::HeadTooLarge => 431,
            Self::FieldsTooLarge => HEAD_TOO_LARGE,
            Self::Coding => 501,
            Self::Version => 505,
        }
    }
}

/// Why an answer of a worker is not passed on: always 502.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ResponseFlaw {
    #[error("the status line is not `HTTP-version SP status SP reason`")]
    StatusLine,
    #[error("a field line that is none")]
    FieldLine,
    #[error("too many fields")]
    TooManyFields,
    #[error("the head is too large")]
    HeadTooLarge,
    #[error("Content-Length is no number, or there are several")]
    Length,
    #[error("both Content-Length and Transfer-Encoding")]
    LengthAndCoding,
    #[error("Transfer-Encoding in an HTTP/1.0 answer")]
    CodingInHttp10,
    #[error("a transfer coding other than `chunked`, or several")]
    Coding,
    #[error("the chunked body: {0}")]
    Chunk(#[from] ChunkFlaw),
    #[error("the connection closed before the answer was complete")]
    Incomplete,
}
