//! Server-sent events, read from a body as it comes.

use std::collections::VecDeque;

use futures::{
    StreamExt,
    stream::{self, BoxStream},
};

use super::Pieces;
use crate::exit::Failure;

/// Bytes of one event at most: a value of 16 MiB and what stands around it.
const EVENT_BYTES_MAX: usize = 64 << 20;

/// One event.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ServerEvent {
    /// Its id; empty when it has none.
    pub id: String,
    /// Its name.
    pub event: String,
    /// Its data.
    pub data: String,
}

/// The events of a body.
pub fn parse(pieces: Pieces) -> BoxStream<'static, Result<ServerEvent, Failure>> {
    let reader = Reader { pieces, buffer: Vec::new(), current: ServerEvent::default(), ready: VecDeque::new() };
    stream::unfold(reader, |mut reader| async move {
        loop {
            if let Some(event) = reader.ready.pop_front() {
                return Some((Ok(event), reader));
            }
            match reader.pieces.next().await? {
                Ok(piece) if reader.buffer.len() + piece.len() > EVENT_BYTES_MAX => {
                    let failure = Failure::internal(format!("an event is over {EVENT_BYTES_MAX} bytes"));
                    return Some((Err(failure), reader));
                }
                Ok(piece) => reader.take(&piece),
                Err(failure) => return Some((Err(failure), reader)),
            }
        }
    })
    .boxed()
}

struct Reader {
    pieces: Pieces,
    buffer: Vec<u8>,
    current: ServerEvent,
    ready: VecDeque<ServerEvent>,
}

impl Reader {
    fn take(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
        let mut from = 0;
        while let Some(length) = self.buffer[from..].iter().position(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(&self.buffer[from..from + length]).into_owned();
            self.line(line.trim_end_matches('\r'));
            from += length + 1;
        }
        self.buffer.drain(..from);
    }

    fn line(&mut self, line: &str) {
        if line.is_empty() {
            let event = std::mem::take(&mut self.current);
            if !event.data.is_empty() || !event.event.is_empty() {
                self.ready.push_back(event);
            }
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => value.clone_into(&mut self.current.id),
            "event" => value.clone_into(&mut self.current.event),
            "data" => {
                if !self.current.data.is_empty() {
                    self.current.data.push('\n');
                }
                self.current.data.push_str(value);
            }
            // Comments keep the connection alive; other fields are not for us.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;

    use super::*;

    #[tokio::test]
    async fn events_come_whole_however_they_are_cut() {
        let text = ": hello\n\nid: 1\nevent: started\ndata: {}\n\nevent: log\r\ndata: a\r\ndata: b\r\n\r\nid: 2\n";
        for size in [1, 3, 7, text.len()] {
            let pieces: Vec<_> = text.as_bytes().chunks(size).map(|it| Ok(Bytes::copy_from_slice(it))).collect();
            let events: Vec<_> = parse(stream::iter(pieces).boxed()).map(Result::unwrap).collect().await;
            let event = |id: &str, event: &str, data: &str| ServerEvent {
                id: id.into(),
                event: event.into(),
                data: data.into(),
            };
            assert_eq!(events, [event("1", "started", "{}"), event("", "log", "a\nb")], "in pieces of {size}");
        }
    }
}
