//! Taking in a response's body while it comes: unpacking, reading its ErrorCode, masking.
//!
//! Up to [`HELD_BACK`] bytes are held back until the answer is complete and known to be one. A longer answer is relayed
//! as it comes ([`Long`]); if it then turns out to be no answer, it is broken off, so that nobody takes a part for the
//! whole.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use tokio::time::{Instant, Sleep};

use super::{Fault, Masker, Outcome, Reading, Scanner, Verdict};
use crate::gateway::credentials::UserSig;
use crate::model::api::Family;
use crate::model::call_outcome::CallOutcome;
use crate::net::body::{BadGzip, Gunzip, NoRoom, Part, Room};
use crate::net::client::{Answer, Headers};

/// How an answer is taken in.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Which shape it should have.
    pub family: Family,
    /// The longest answer, unpacked, in bytes.
    pub longest: usize,
    /// Until when it must be complete.
    pub deadline: Instant,
    /// Where it is held.
    pub room: Arc<Room>,
}

/// An answer that can be relayed.
#[derive(Debug)]
pub enum TakenIn {
    /// It is complete.
    Whole(Whole),
    /// It is still coming.
    Long(Box<Long>),
}

/// A complete answer.
#[derive(Debug)]
pub struct Whole {
    /// What it says.
    pub reading: Reading,
    /// How the call went, in one word.
    pub call: CallOutcome,
    /// What to do about it.
    pub verdict: Verdict,
    /// The body, unpacked, the UserSig masked.
    pub body: Bytes,
}

/// An answer that is relayed while it comes.
pub struct Long {
    /// What was taken in already.
    ready: Option<Bytes>,
    /// `None` once it ended.
    intake: Option<Intake>,
    timer: Pin<Box<Sleep>>,
    ended: Option<Ended>,
}

/// Is told how a long answer ended, and how many bytes came until then; `None`: it was dropped before its end.
pub type Ended = Box<dyn FnOnce(Option<&Result<Outcome, Unusable>>, usize)>;

/// Why what came cannot be relayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// It is no answer of Tencent's.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// It cannot be unpacked.
    #[error(transparent)]
    Gzip(#[from] BadGzip),
    /// It is packed in a way that was not asked for.
    #[error("the body has a content-encoding that is neither gzip nor identity")]
    Encoding,
    /// It is longer than allowed.
    #[error("the body is longer than {0} bytes, which `limits.answer_body` allows")]
    TooLong(usize),
    /// There is no memory for it.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// The connection failed before its end.
    #[error("the connection broke in the middle of the body")]
    BrokenOff,
    /// It was not complete in time.
    #[error("the body was not complete in time")]
    TooSlow,
}

/// Takes in the body of a response, as far as it is held back.
///
/// Dropped, it closes an HTTP/1.1 connection.
///
/// # Errors
/// When what came is no answer.
pub async fn take_in(
    answer: Answer,
    headers: &Headers,
    usersig: &Arc<UserSig>,
    rules: Rules,
) -> Result<TakenIn, Unusable> {
    let deadline = rules.deadline;
    let mut part = rules.room.for_answer();
    let gunzip = unpacker(headers, &rules)?;
    // It stays here, where it is large, unless the answer is long.
    let mut intake = Intake {
        answer,
        gunzip,
        scanner: Scanner::new(rules.family),
        masker: Masker::new(Secret(Arc::clone(usersig))),
        rules,
        came: 0,
    };
    let held_back = tokio::time::timeout_at(deadline, intake.hold_back(&mut part));
    match held_back.await.map_err(|_| Unusable::TooSlow)?? {
        (body, false) => {
            let (timer, ended) = (Box::pin(tokio::time::sleep_until(deadline)), None);
            let ready = Some(part.hold(body));
            Ok(TakenIn::Long(Box::new(Long { ready, intake: Some(intake), timer, ended })))
        }
        (body, true) => match intake.finish()? {
            (Outcome::Answered { reading, call, verdict }, tail) => {
                part.grow(tail.len())?;
                let body = part.hold(joined(body, &tail));
                Ok(TakenIn::Whole(Whole { reading, call, verdict, body }))
            }
            (Outcome::Fault(fault), _) => Err(fault.into()),
        },
    }
}

/// What a body goes through.
struct Intake {
    answer: Answer,
    /// Boxed, since it is rare: nothing packed is asked for.
    gunzip: Option<Box<Gunzip>>,
    scanner: Scanner,
    masker: Masker<Secret>,
    rules: Rules,
    /// How many bytes came, unpacked.
    came: usize,
}

/// What must not be seen in the answer.
struct Secret(Arc<UserSig>);

impl AsRef<str> for Secret {
    fn as_ref(&self) -> &str {
        self.0.expose()
    }
}

/// What unpacks the answer, if it is packed.
fn unpacker(headers: &Headers, rules: &Rules) -> Result<Option<Box<Gunzip>>, Unusable> {
    match headers.content_encoding.as_ref().map(|encoding| encoding.as_bytes().trim_ascii()) {
        // Known to be too long before any of it was relayed.
        None | Some(b"" | b"identity")
            if headers.content_length.is_some_and(|length| length > rules.longest as u64) =>
        {
            Err(Unusable::TooLong(rules.longest))
        }
        None | Some(b"" | b"identity") => Ok(None),
        Some(b"gzip" | b"x-gzip") => Ok(Some(Box::new(Gunzip::new(rules.longest)))),
        Some(_) => Err(Unusable::Encoding),
    }
}

impl Intake {
    /// Everything up to the end, or until it is too much to hold back; and whether that was the end.
    async fn hold_back(&mut self, part: &mut Part) -> Result<(Bytes, bool), Unusable> {
        // Nearly every answer comes in one piece, which is passed on without copying.
        let mut first = Bytes::new();
        let mut more = BytesMut::new();
        while let Some(piece) = std::future::poll_fn(|cx| self.poll_piece(cx)).await {
            let piece = piece?;
            part.grow(piece.len())?;
            if first.is_empty() {
                first = piece;
            } else {
                more.extend_from_slice(&piece);
            }
            if self.came > HELD_BACK {
                return Ok((joined(first, &more), false));
            }
        }
        Ok((joined(first, &more), true))
    }

    /// The next piece to relay; `None` at the end.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Unusable>>> {
        loop {
            if let Some(unpacked) = self.gunzip.as_mut().and_then(|gunzip| gunzip.unpack().transpose()) {
                return Poll::Ready(Some(
                    unpacked.map_err(Unusable::from).and_then(|plain| self.through(plain)),
                ));
            }
            let frame = match ready!(Pin::new(&mut self.answer).poll_frame(cx)) {
                None => return Poll::Ready(None),
                Some(Err(error)) if error.is_silence() => {
                    return Poll::Ready(Some(Err(Unusable::TooSlow)));
                }
                Some(Err(_)) => return Poll::Ready(Some(Err(Unusable::BrokenOff))),
                Some(Ok(frame)) => frame,
            };
            // Trailers are of no use to a caller who waits for JSON.
            let Ok(data) = frame.into_data() else { continue };
            match &mut self.gunzip {
                None => return Poll::Ready(Some(self.through(data))),
                Some(gunzip) => gunzip.push(data),
            }
        }
    }

    /// One piece, read and masked.
    fn through(&mut self, plain: Bytes) -> Result<Bytes, Unusable> {
        self.came += plain.len();
        if self.came > self.rules.longest {
            return Err(Unusable::TooLong(self.rules.longest));
        }
        Ok(self.masked_and_read(plain))
    }

    /// A piece that takes room until the caller has it.
    fn held(&self, piece: Bytes) -> Result<Bytes, Unusable> {
        let mut part = self.rules.room.for_answer();
        part.grow(piece.len())?;
        Ok(part.hold(piece))
    }

    /// Masked first: what is read here ends up in headers and logs.
    fn masked_and_read(&mut self, plain: Bytes) -> Bytes {
        let masked = self.masker.feed(plain);
        self.scanner.feed(&masked);
        masked
    }

    /// What the whole says, and what was still held for the masking.
    fn finish(&mut self) -> Result<(Outcome, Bytes), Unusable> {
        let mut tail = Bytes::new();
        if let Some(gunzip) = self.gunzip.take() {
            let plain = gunzip.finish()?;
            self.came += plain.len();
            tail = self.masked_and_read(plain);
        }
        let held = self.masker.finish();
        self.scanner.feed(&held);
        let tail = joined(tail, &held);
        Ok((Outcome::of(self.rules.family, self.scanner.finish()), tail))
    }
}

fn joined(first: Bytes, more: &[u8]) -> Bytes {
    match (first.is_empty(), more.is_empty()) {
        (_, true) => first,
        (true, false) => Bytes::copy_from_slice(more),
        (false, false) => [&first[..], more].concat().into(),
    }
}

/// How much of an answer is held back until it is complete.
pub const HELD_BACK: usize = 256 * 1024;

// === impl Long ===

impl Long {
    /// `ended` will be told how the answer ended, and how many bytes it had.
    pub fn when_ended(&mut self, ended: Ended) {
        self.ended = Some(ended);
    }

    fn poll_relayed(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Unusable>>> {
        if let Some(ready) = self.ready.take() {
            return Poll::Ready(Some(Ok(ready)));
        }
        let Some(intake) = &mut self.intake else { return Poll::Ready(None) };
        let piece = match intake.poll_piece(cx) {
            Poll::Pending if self.timer.as_mut().poll(cx).is_ready() => Some(Err(Unusable::TooSlow)),
            Poll::Pending => return Poll::Pending,
            Poll::Ready(piece) => piece,
        };
        let held = piece.map(|piece| piece.and_then(|piece| intake.held(piece)));
        match held {
            Some(Ok(piece)) => Poll::Ready(Some(Ok(piece))),
            Some(Err(unusable)) => {
                let came = intake.came;
                self.end(&Err(unusable), came);
                Poll::Ready(Some(Err(unusable)))
            }
            None => Poll::Ready(self.finish()),
        }
    }

    fn finish(&mut self) -> Option<Result<Bytes, Unusable>> {
        let mut intake = self.intake.take()?;
        let came = intake.came;
        let (result, tail) = match intake.finish() {
            Ok((outcome @ Outcome::Answered { .. }, tail)) => (Ok(outcome), Some(Ok(tail))),
            Ok((Outcome::Fault(fault), _)) => (Err(fault.into()), Some(Err(fault.into()))),
            Err(unusable) => (Err(unusable), Some(Err(unusable))),
        };
        self.end(&result, came);
        tail
    }

    fn end(&mut self, result: &Result<Outcome, Unusable>, came: usize) {
        self.intake = None;
        if let Some(ended) = self.ended.take() {
            ended(Some(result), came);
        }
    }
}

impl Drop for Long {
    fn drop(&mut self) {
        if let Some(ended) = self.ended.take() {
            ended(None, self.intake.as_ref().map_or(0, |intake| intake.came));
        }
    }
}

impl Body for Long {
    type Data = Bytes;
    type Error = Unusable;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Unusable>>> {
        self.poll_relayed(cx).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

impl std::fmt::Debug for Long {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Long").finish_non_exhaustive()
    }
}
