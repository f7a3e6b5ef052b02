//! An answer's body on its way to its client: as it is, or coded piece by piece.

use std::io::{self, Write};
use std::task::{Context as Task, Poll, ready};

use flate2::write::{GzEncoder, MultiGzDecoder};

use crate::downstream::{Client, ClientFailure};
use crate::headers::compression::Coding;
use crate::upstream::verdict::Failure;
use crate::wire::fields::Fields;

/// Bytes that are coded before others on the same thread have their turn.
const TURN_MAX: usize = 64 * 1024;
/// Bytes of a piece that is coded at once.
const PIECE_MAX: usize = 16 * 1024;

/// Takes a body to its client.
pub struct Outlet {
    coder: Option<Box<Coder>>,
    /// Nobody knows how long it will be.
    is_coded: bool,
}

struct Coder {
    packer: Option<Packer>,
    /// Coded, and not taken by the client yet from `begin` on.
    coded: Vec<u8>,
    begin: usize,
    /// The body has ended, and this is what follows it.
    end: Option<Option<Fields>>,
    has_finished: bool,
    /// All of it was packed.
    is_packed: bool,
    /// Something was taken that the client cannot read yet.
    is_behind: bool,
    /// Whether a pause of the worker's is passed on, and what came before it does not wait.
    is_live: bool,
    /// Bytes coded in this turn.
    turn: usize,
    /// Bytes that came, and that came of them.
    taken: u64,
    made: u64,
}

enum Packer {
    Gzip(GzEncoder<Vec<u8>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    Gunzip(MultiGzDecoder<Vec<u8>>),
}

impl Outlet {
    /// For bodies that go as they are.
    pub fn plain() -> Self {
        Self { coder: None, is_coded: false }
    }

    /// For answers to HEAD whose bodies would be coded.
    pub fn without_body() -> Self {
        Self { coder: None, is_coded: true }
    }

    /// For bodies that are coded. `is_live`: nobody knows when the next piece comes.
    ///
    /// # Errors
    /// What the coder says.
    pub fn coded(coding: Coding, is_live: bool) -> io::Result<Self> {
        let coder = Coder {
            packer: Some(Packer::new(coding)?),
            coded: Vec::new(),
            begin: 0,
            end: None,
            has_finished: false,
            is_packed: false,
            is_behind: false,
            is_live,
            turn: 0,
            taken: 0,
            made: 0,
        };
        Ok(Self { coder: Some(Box::new(coder)), is_coded: true })
    }

    pub fn is_coded(&self) -> bool {
        self.is_coded
    }

    /// How many bytes were packed, and into how many; nothing where none were, or not all.
    pub fn packed(&self) -> Option<(u64, u64)> {
        let coder = self.coder.as_ref().filter(|coder| coder.is_packed)?;
        Some((coder.taken, coder.made))
    }

    /// Takes bytes of the body; how many.
    ///
    /// # Errors
    /// The client is gone, or what came cannot be coded.
    pub fn poll_send(
        &mut self,
        cx: &mut Task<'_>,
        client: &mut Client<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize, Failure>> {
        match &mut self.coder {
            None => client.poll_send(cx, bytes).map_err(gone),
            Some(coder) => coder.poll_send(cx, client, bytes),
        }
    }

    /// Ends the body; [`poll_flush`](Self::poll_flush) takes what is left of it to the client.
    ///
    /// # Errors
    /// The client is gone.
    pub fn finish(
        &mut self,
        client: &mut Client<'_>,
        trailers: Option<&Fields>,
    ) -> Result<(), Failure> {
        match &mut self.coder {
            None => client.finish(trailers).map_err(gone),
            Some(coder) => {
                coder.end = Some(trailers.cloned());
                coder.finish()
            }
        }
    }

    /// Waits until all that was taken has left.
    ///
    /// # Errors
    /// The client is gone.
    pub fn poll_flush(
        &mut self,
        cx: &mut Task<'_>,
        client: &mut Client<'_>,
    ) -> Poll<Result<(), Failure>> {
        if let Some(coder) = &mut self.coder {
            ready!(coder.poll_drain(cx, client))?;
        }
        client.poll_flush(cx).map_err(gone)
    }
}

impl Coder {
    fn poll_send(
        &mut self,
        cx: &mut Task<'_>,
        client: &mut Client<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize, Failure>> {
        ready!(self.poll_coded(cx, client))?;
        if self.turn >= TURN_MAX {
            self.turn = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let piece = bytes.get(..PIECE_MAX).unwrap_or(bytes);
        let packer = self.packer.as_mut().ok_or(Failure::Internal)?;
        packer.write(piece)?;
        self.is_behind = true;
        self.turn += piece.len();
        self.taken += piece.len() as u64;
        self.take_coded();
        Poll::Ready(Ok(piece.len()))
    }

    /// Takes what is coded to the client, and at a pause what is held back as well.
    fn poll_drain(
        &mut self,
        cx: &mut Task<'_>,
        client: &mut Client<'_>,
    ) -> Poll<Result<(), Failure>> {
        self.turn = 0;
        ready!(self.poll_coded(cx, client))?;
        if self.is_live && self.is_behind && self.end.is_none() {
            self.is_behind = false;
            if let Some(packer) = &mut self.packer {
                packer.flush()?;
            }
            self.take_coded();
            ready!(self.poll_coded(cx, client))?;
        }
        if let Some(trailers) = self.end.as_ref().filter(|_| !self.has_finished) {
            client.finish(trailers.as_ref()).map_err(gone)?;
            self.has_finished = true;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_coded(
        &mut self,
        cx: &mut Task<'_>,
        client: &mut Client<'_>,
    ) -> Poll<Result<(), Failure>> {
        while let Some(rest) = self.coded.get(self.begin..).filter(|rest| !rest.is_empty()) {
            self.begin += ready!(client.poll_send(cx, rest)).map_err(gone)?;
        }
        self.coded.clear();
        self.begin = 0;
        Poll::Ready(Ok(()))
    }

    fn take_coded(&mut self) {
        if let Some(packer) = &mut self.packer {
            let coded = packer.coded();
            self.made += coded.len() as u64;
            self.coded.append(coded);
        }
    }

    fn finish(&mut self) -> Result<(), Failure> {
        let Some(packer) = self.packer.take() else { return Ok(()) };
        self.is_packed = !packer.is_packed();
        let mut rest = packer.finish()?;
        self.made += rest.len() as u64;
        self.coded.append(&mut rest);
        Ok(())
    }
}

impl Packer {
    fn new(coding: Coding) -> io::Result<Self> {
        const WINDOW: u32 = 19;
        Ok(match coding {
            Coding::Gzip(level) => {
                Self::Gzip(GzEncoder::new(Vec::new(), flate2::Compression::new(level)))
            }
            Coding::Brotli(level) => {
                let writer = brotli::CompressorWriter::new(Vec::new(), PIECE_MAX, level, WINDOW);
                Self::Brotli(Box::new(writer))
            }
            Coding::Zstd(level) => {
                let level = i32::try_from(level).unwrap_or(i32::MAX);
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), level)?;
                // What browsers take at most is 8 MiB; so little suffices for pages.
                encoder.window_log(WINDOW)?;
                Self::Zstd(encoder)
            }
            Coding::Gunzip => Self::Gunzip(MultiGzDecoder::new(Vec::new())),
        })
    }

    fn write(&mut self, piece: &[u8]) -> Result<(), Failure> {
        let is_packed = self.is_packed();
        self.writer().write_all(piece).map_err(|error| broken(&error, is_packed))
    }

    fn flush(&mut self) -> Result<(), Failure> {
        let is_packed = self.is_packed();
        self.writer().flush().map_err(|error| broken(&error, is_packed))
    }

    /// Whether what comes is coded already.
    fn is_packed(&self) -> bool {
        matches!(self, Self::Gunzip(_))
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Gzip(encoder) => encoder,
            Self::Brotli(encoder) => encoder,
            Self::Zstd(encoder) => encoder,
            Self::Gunzip(decoder) => decoder,
        }
    }

    /// What has come out so far.
    fn coded(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Gzip(encoder) => encoder.get_mut(),
            Self::Brotli(encoder) => encoder.get_mut(),
            Self::Zstd(encoder) => encoder.get_mut(),
            Self::Gunzip(decoder) => decoder.get_mut(),
        }
    }

    fn finish(self) -> Result<Vec<u8>, Failure> {
        let is_packed = self.is_packed();
        let finished = match self {
            Self::Gzip(encoder) => encoder.finish(),
            Self::Brotli(encoder) => Ok(encoder.into_inner()),
            Self::Zstd(encoder) => encoder.finish(),
            Self::Gunzip(decoder) => decoder.finish(),
        };
        finished.map_err(|error| broken(&error, is_packed))
    }
}

fn gone(_: ClientFailure) -> Failure {
    Failure::ClientGone
}

/// The answer ends here: its client must not take it for whole. What cannot be unpacked is whose it came
/// from; what cannot be packed is our own failure.
fn broken(error: &io::Error, is_packed: bool) -> Failure {
    tracing::error!(%error, "an answer cannot be coded");
    if is_packed { Failure::Flaw } else { Failure::Internal }
}
