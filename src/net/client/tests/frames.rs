//! HTTP/2 by hand, as far as these tests need it (RFC 9113, section 4 and 6).

use std::io::Write;

use super::peer::Conversation;

pub(super) const HEADERS: u8 = 1;
pub(super) const DATA: u8 = 0;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;

/// A frame as it was read.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

impl Frame {
    pub(super) fn ends_stream(&self) -> bool {
        self.flags & 1 != 0
    }
}

impl Conversation {
    /// Both sides' first words: the client's preface, and settings without a wish, or with one for
    /// `SETTINGS_MAX_CONCURRENT_STREAMS`.
    pub(super) fn greet_http2(&mut self, most_streams: Option<u32>) {
        assert_eq!(self.exactly(24), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let settings = most_streams.map(|most| [&[0, 3][..], &most.to_be_bytes()].concat());
        self.send_frame(SETTINGS, 0, 0, &settings.unwrap_or_default());
    }

    /// Changes how many streams may be open at once, and waits until the client has taken note.
    pub(super) fn allow_streams(&mut self, most: u32) {
        self.send_frame(SETTINGS, 0, 0, &[&[0, 3][..], &most.to_be_bytes()].concat());
        // Frames are read in order, so an answer to this one comes after that.
        self.send_frame(PING, 0, 0, &[0; 8]);
        loop {
            let frame = self.any_frame();
            if frame.kind == PING && frame.flags & 1 != 0 {
                return;
            }
        }
    }

    /// The next frame that belongs to a stream. Others are answered where they want an answer.
    pub(super) fn frame(&mut self) -> Frame {
        loop {
            let frame = self.any_frame();
            if matches!(frame.kind, HEADERS | DATA | RST_STREAM) {
                return frame;
            }
        }
    }

    /// The next frame of whatever kind, answered where it wants an answer.
    pub(super) fn any_frame(&mut self) -> Frame {
        let head = self.exactly(9);
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let (kind, flags) = (head[3], head[4]);
        let payload = self.exactly(length as usize);
        match kind {
            SETTINGS if flags & 1 == 0 => self.send_frame(SETTINGS, 1, 0, &[]),
            PING if flags & 1 == 0 => self.send_frame(PING, 1, 0, &payload),
            _ => {}
        }
        Frame { kind, flags, stream, payload }
    }

    /// Reads until one more request has ended, and gives its stream. Parts of others may come in between.
    pub(super) fn http2_request(&mut self) -> u32 {
        loop {
            let frame = self.frame();
            assert_ne!(frame.kind, RST_STREAM, "{frame:?}");
            if frame.ends_stream() {
                return frame.stream;
            }
        }
    }

    /// `:status: 200`, which stands in the static table (RFC 7541, appendix A), and a body.
    pub(super) fn answer_http2(&mut self, stream: u32, body: &str) {
        self.send_frame(HEADERS, 4, stream, &[0x88]);
        self.send_frame(DATA, 1, stream, body.as_bytes());
    }

    /// The first half of such an answer.
    pub(super) fn begin_answer_http2(&mut self, stream: u32, body: &str) {
        self.send_frame(HEADERS, 4, stream, &[0x88]);
        self.send_frame(DATA, 0, stream, body.as_bytes());
    }

    /// Says goodbye; streams after `last` were not processed.
    pub(super) fn go_away(&mut self, last: u32) {
        let no_error = 0u32;
        self.send_frame(GOAWAY, 0, 0, &[last.to_be_bytes(), no_error.to_be_bytes()].concat());
    }

    /// `REFUSED_STREAM`: not processed.
    pub(super) fn refuse(&mut self, stream: u32) {
        self.send_frame(RST_STREAM, 0, stream, &7u32.to_be_bytes());
    }

    /// Lets so many more bytes in.
    pub(super) fn open_window(&mut self, stream: u32, bytes: u32) {
        for stream in [0, stream] {
            self.send_frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes());
        }
    }

    fn send_frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
        self.write_all(&[&head, payload].concat()).unwrap();
        self.flush().unwrap();
    }
}
