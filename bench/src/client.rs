//! What the harness itself asks: a few blocking requests, one connection each.

use std::{
    io::{self, Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use serde_json::Value;

/// Long enough for a definition of 100,000 tasks.
const PATIENCE: Duration = Duration::from_secs(120);

/// Status and body of an answer. HTTP/1.0: the body ends with the connection and is never chunked.
pub(crate) fn ask(port: u16, method: &str, path: &str, kind: &str, body: &str) -> io::Result<(u16, String)> {
    let mut socket = TcpStream::connect(("127.0.0.1", port))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let length = body.len();
    write!(
        socket,
        "{method} {path} HTTP/1.0\r\nhost: 127.0.0.1\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok());
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    match (status, body) {
        (Some(status), Some(body)) => Ok((status, body)),
        _ => Err(io::Error::other(format!("no HTTP answer to {method} {path}"))),
    }
}

/// JSON of an answer with a good status.
pub(crate) fn json(port: u16, method: &str, path: &str, body: &str) -> io::Result<Value> {
    let (status, body) = ask(port, method, path, "application/json", body)?;
    if !(200..300).contains(&status) {
        return Err(io::Error::other(format!("{method} {path}: HTTP {status}: {body}")));
    }
    Ok(serde_json::from_str(&body).unwrap_or_default())
}

/// Whether `/ready` on this port answers 200.
pub(crate) fn is_ready(port: u16) -> bool {
    ask(port, "GET", "/ready", "text/plain", "").is_ok_and(|(status, _)| status == 200)
}
