//! Server-sent events, read from any server and written for any client.

use bytes::Bytes;

use crate::json::Out;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SseEvent {
    /// `message` unless the server named it.
    pub(crate) name: String,
    /// The data lines joined with line feeds, as bytes: UTF-8 may be split over chunks and is checked by the reader.
    pub(crate) data: Bytes,
}

/// The event grew beyond its limit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

/// A parser by the rules of the HTML standard: LF, CRLF or CR end a line, `:` begins a comment, unknown fields are
/// ignored, a blank line ends an event, an event that the stream does not finish is dropped.
pub(crate) struct SseParser {
    line: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    name: Vec<u8>,
    after_cr: bool,
    begun: bool,
    limit_bytes: usize,
    ready: std::collections::VecDeque<SseEvent>,
}

impl SseParser {
    /// `limit_bytes` bounds one event.
    pub(crate) fn new(limit_bytes: usize) -> Self {
        Self {
            line: Vec::new(),
            data: Vec::new(),
            has_data: false,
            name: Vec::new(),
            after_cr: false,
            begun: false,
            limit_bytes,
            ready: Default::default(),
        }
    }

    /// Takes the next bytes of the stream, cut anywhere.
    pub(crate) fn push(&mut self, mut chunk: &[u8]) -> Result<(), TooLong> {
        while !chunk.is_empty() {
            if std::mem::take(&mut self.after_cr) && chunk[0] == b'\n' {
                chunk = &chunk[1..];
                continue;
            }
            let Some(end) = chunk.iter().position(|b| matches!(b, b'\n' | b'\r')) else {
                self.line.extend_from_slice(chunk);
                return self.check();
            };
            self.line.extend_from_slice(&chunk[..end]);
            self.after_cr = chunk[end] == b'\r';
            chunk = &chunk[end + 1..];
            self.check()?;
            self.end_line();
        }
        Ok(())
    }

    /// The next whole event.
    pub(crate) fn next(&mut self) -> Option<SseEvent> {
        self.ready.pop_front()
    }

    fn check(&self) -> Result<(), TooLong> {
        if self.line.len() + self.data.len() > self.limit_bytes { Err(TooLong) } else { Ok(()) }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let mut text = &line[..];
        if !std::mem::replace(&mut self.begun, true) {
            text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        }
        if text.is_empty() {
            self.end_event();
        } else {
            let colon = text.iter().position(|b| *b == b':');
            let (field, value) = colon.map_or((text, &[][..]), |at| (&text[..at], &text[at + 1..]));
            let value = value.strip_prefix(b" ").unwrap_or(value);
            match field {
                b"data" => {
                    if std::mem::replace(&mut self.has_data, true) {
                        self.data.push(b'\n');
                    }
                    self.data.extend_from_slice(value);
                }
                b"event" => self.name = value.to_vec(),
                _ => {}
            }
        }
        self.line = line;
        self.line.clear();
    }

    fn end_event(&mut self) {
        let name = std::mem::take(&mut self.name);
        if std::mem::take(&mut self.has_data) {
            let name = if name.is_empty() { "message".into() } else { String::from_utf8_lossy(&name).into() };
            self.ready.push_back(SseEvent { name, data: std::mem::take(&mut self.data).into() });
        }
    }
}

/// One event with its data on one line. Raw JSON spliced into a body may hold line breaks between its tokens;
/// inside its strings they are escaped, so they can become spaces.
pub(crate) fn frame(write: impl FnOnce(&mut Out)) -> Bytes {
    let mut out = Out::with_capacity(256);
    out.raw(b"data: ");
    write(&mut out);
    out.raw(b"\n\n");
    let mut bytes = Vec::from(out.finish());
    let end = bytes.len() - 2;
    bytes[..end].iter_mut().filter(|b| matches!(b, b'\n' | b'\r')).for_each(|b| *b = b' ');
    bytes.into()
}

/// A comment that keeps the connection from looking dead.
pub(crate) const PING: &[u8] = b": ping\n\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn all(chunks: &[&[u8]]) -> Vec<(String, String)> {
        let mut parser = SseParser::new(1000);
        let mut events = Vec::new();
        for chunk in chunks {
            parser.push(chunk).unwrap();
            while let Some(event) = parser.next() {
                events.push((event.name, String::from_utf8(event.data.to_vec()).unwrap()));
            }
        }
        events
    }

    #[test]
    fn every_way_to_write_an_event_is_read() {
        let one = |data: &str| vec![("message".to_owned(), data.to_owned())];
        for (name, chunks, want) in [
            ("LF", vec![&b"data: a\n\n"[..]], one("a")),
            ("CRLF", vec![b"data: a\r\n\r\n"], one("a")),
            ("CR", vec![b"data: a\r\r"], one("a")),
            ("CRLF cut between CR and LF", vec![b"data: a\r", b"\n\r", b"\n"], one("a")),
            ("many lines", vec![b"data: {\ndata:  1\ndata: }\n\n"], one("{\n 1\n}")),
            ("no space", vec![b"data:a\n\n"], one("a")),
            ("comments and unknown fields", vec![b": ping - x\nid: 7\nretry: 5\nfoo\ndata: a\n\n"], one("a")),
            ("split UTF-8", vec![b"data: \xc3", b"\xa4\n\n"], one("ä")),
            ("a byte order mark", vec![b"\xef\xbb\xbfdata: a\n\n"], one("a")),
            ("an empty data line", vec![b"data\n\n"], one("")),
            ("only a comment", vec![b": ping\n\n"], vec![]),
            ("an unfinished event", vec![b"data: a\n"], vec![]),
            ("a named event", vec![b"event: error\ndata: e\n\n"], vec![("error".into(), "e".into())]),
            ("a name without data does not stick", vec![b"event: error\n\ndata: a\n\n"], one("a")),
        ] {
            assert_eq!(all(&chunks), want, "{name}");
        }
        let bytewise: Vec<&[u8]> = b"data: a\r\n\r\ndata: b\n\n".chunks(1).collect();
        assert_eq!(all(&bytewise).len(), 2);
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut parser = SseParser::new(100);
        assert_eq!(parser.push(&[b'x'; 101]), Err(TooLong));
        let mut parser = SseParser::new(100);
        let grow = (0..10).find_map(|_| parser.push(b"data: 0123456789012\n").err());
        assert_eq!(grow, Some(TooLong));
    }

    #[test]
    fn a_written_frame_is_one_data_line() {
        let bytes = frame(|out| {
            out.raw(b"{\n \"a\": \"x\\ny\"\r\n}");
        });
        assert_eq!(bytes, "data: {  \"a\": \"x\\ny\"  }\n\n");
    }
}
