//! The load generator: one thread, one kept-alive HTTP/1.1 connection for each request in flight, nothing else.
//!
//! Closed: so many requests are always in flight, each sent when the one before it has its answer. Open: requests are
//! sent at a rate, and when all connections are busy the time a request waits for one counts as part of its latency.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs,
    io::{self, BufWriter, Read as _, Write as _},
    path::PathBuf,
    rc::Rc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Request,
    client::conn::http1::{SendRequest, handshake},
    header,
};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::{net::TcpStream, task::LocalSet};

use crate::latency::{Latencies, Summary};

/// What to send, and how fast.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    /// `127.0.0.1:PORT`.
    pub(crate) address: String,
    pub(crate) method: String,
    /// Path and query; `{n}` becomes the number of the request, `{m}` that number modulo `modulus`.
    pub(crate) path: String,
    /// A file with a path in each line, taken in turn instead of `path`.
    #[serde(default)]
    pub(crate) paths: Option<PathBuf>,
    /// JSON, with the same places.
    #[serde(default)]
    pub(crate) body: String,
    /// Number of the first request.
    #[serde(default)]
    pub(crate) first: u64,
    #[serde(default)]
    pub(crate) modulus: u64,
    /// Connections. Closed: each sends when it has its answer.
    pub(crate) in_flight: usize,
    /// Open: requests per second. Closed when 0.
    #[serde(default)]
    pub(crate) per_second: f64,
    #[serde(default)]
    pub(crate) warm_up_ms: u64,
    /// How long to measure; without an end of its own when `count` says it.
    #[serde(default)]
    pub(crate) measure_ms: u64,
    /// So many requests instead of a time.
    #[serde(default)]
    pub(crate) count: Option<u64>,
    /// An answer counts as done when it has this status and contains this text.
    pub(crate) status: u16,
    #[serde(default)]
    pub(crate) contains: String,
    /// Grows by the `execution_id` of every answer.
    #[serde(default)]
    pub(crate) keep_ids: Option<PathBuf>,
}

/// What is written to standard output, a line each.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Said {
    /// The warm-up is over.
    Begin,
    /// The time is over; requests in flight are being waited for.
    End,
    /// All answers are there.
    Done(Outcome),
}

/// What was measured between `Begin` and `End`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) seconds: f64,
    /// Answers within the time that were as wanted.
    pub(crate) done: u64,
    /// Others, by status; 0 is a connection that failed.
    pub(crate) refused: BTreeMap<u16, u64>,
    /// The first of them.
    pub(crate) sample: String,
    pub(crate) latency: Summary,
}

#[derive(Default)]
struct Book {
    latencies: Latencies,
    done: u64,
    refused: BTreeMap<u16, u64>,
    sample: String,
    ids: Vec<String>,
}

struct State {
    job: Job,
    /// Path or body have places to fill: looked for once, not in every megabyte that is sent.
    places: bool,
    paths: Vec<String>,
    began: Instant,
    /// When measuring begins and ends.
    window: (Instant, Option<Instant>),
    next: RefCell<u64>,
    book: RefCell<Book>,
}

pub(crate) async fn main() -> io::Result<()> {
    // A harness that is killed must not leave a load behind.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))?;
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    let job: Job = serde_json::from_str(&text)?;
    LocalSet::new().run_until(run(job)).await
}

fn say(said: &Said) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, said)?;
    out.write_all(b"\n")?;
    out.flush()
}

async fn run(job: Job) -> io::Result<()> {
    let paths = match &job.paths {
        Some(file) => fs::read_to_string(file)?.lines().map(str::to_owned).collect(),
        None => Vec::new(),
    };
    // Connected before the clock starts.
    let mut connections = Vec::new();
    for _ in 0..job.in_flight {
        connections.push(connect(&job.address).await?);
    }
    let began = Instant::now();
    let from = began + Duration::from_millis(job.warm_up_ms);
    let until = job.count.is_none().then(|| from + Duration::from_millis(job.measure_ms));
    let places = [&job.path, &job.body].iter().any(|text| text.contains("{n}") || text.contains("{m}"));
    let state = Rc::new(State {
        places,
        paths,
        began,
        window: (from, until),
        next: RefCell::default(),
        book: RefCell::default(),
        job,
    });
    let workers: Vec<_> = connections
        .into_iter()
        .map(|connection| tokio::task::spawn_local(worker(Rc::clone(&state), connection)))
        .collect();
    tokio::time::sleep_until(from.into()).await;
    say(&Said::Begin)?;
    if let Some(until) = until {
        tokio::time::sleep_until(until.into()).await;
        say(&Said::End)?;
    }
    for worker in workers {
        worker.await.map_err(io::Error::other)?;
    }
    let end = until.unwrap_or_else(Instant::now);
    if until.is_none() {
        say(&Said::End)?;
    }
    let book = std::mem::take(&mut *state.book.borrow_mut());
    if let Some(file) = &state.job.keep_ids {
        let mut out = BufWriter::new(fs::File::create(file)?);
        for id in &book.ids {
            writeln!(out, "{id}")?;
        }
        out.flush()?;
    }
    say(&Said::Done(Outcome {
        seconds: (end - from).as_secs_f64(),
        done: book.done,
        refused: book.refused,
        sample: book.sample,
        latency: book.latencies.summary(),
    }))
}

async fn connect(address: &str) -> io::Result<SendRequest<Full<Bytes>>> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(socket)).await.map_err(io::Error::other)?;
    tokio::task::spawn_local(async move {
        // Its end is noticed where a request fails.
        let _ = connection.await;
    });
    Ok(sender)
}

async fn worker(state: Rc<State>, mut connection: SendRequest<Full<Bytes>>) {
    while let Some((n, due)) = state.take() {
        tokio::time::sleep_until(due.into()).await;
        // Idle until it was due: late timers are not the server's. Busy until after it: the wait counts.
        let sent = if state.job.per_second > 0.0 && due + Duration::from_millis(2) < Instant::now() {
            due
        } else {
            Instant::now()
        };
        let answer = send(&state, &mut connection, n).await;
        let ended = Instant::now();
        let failed = answer.is_err();
        state.book(sent, ended, answer);
        if failed {
            while connection.is_closed() && !state.over() {
                tokio::time::sleep(Duration::from_millis(20)).await;
                if let Ok(again) = connect(&state.job.address).await {
                    connection = again;
                }
            }
        }
    }
}

async fn send(
    state: &State,
    connection: &mut SendRequest<Full<Bytes>>,
    n: u64,
) -> Result<(u16, Bytes), hyper::Error> {
    let job = &state.job;
    let number = job.first + n;
    let fill = |text: &str| match state.places {
        false => text.to_owned(),
        true => text
            .replace("{n}", &number.to_string())
            .replace("{m}", &number.checked_rem(job.modulus).unwrap_or(number).to_string()),
    };
    let path = match state.paths.len() {
        0 => fill(&job.path),
        all => state.paths[n as usize % all].clone(),
    };
    let request = Request::builder()
        .method(Method::from_bytes(job.method.as_bytes()).expect("a method"))
        .uri(path)
        .header(header::HOST, &job.address)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(fill(&job.body))))
        .expect("a path that is one");
    connection.ready().await?;
    let answer = connection.send_request(request).await?;
    let status = answer.status().as_u16();
    Ok((status, answer.into_body().collect().await?.to_bytes()))
}

impl State {
    fn over(&self) -> bool {
        self.window.1.is_some_and(|until| Instant::now() >= until)
    }

    /// The number of the next request, and when it is due.
    fn take(&self) -> Option<(u64, Instant)> {
        let mut next = self.next.borrow_mut();
        let n = *next;
        let due = match self.job.per_second > 0.0 {
            true => self.began + Duration::from_secs_f64(n as f64 / self.job.per_second),
            false => self.began,
        };
        let over = self.over() || self.window.1.is_some_and(|until| due >= until);
        if over || self.job.count.is_some_and(|count| n >= count) {
            return None;
        }
        *next += 1;
        Some((n, due))
    }

    fn book(&self, sent: Instant, ended: Instant, answer: Result<(u16, Bytes), hyper::Error>) {
        let book = &mut *self.book.borrow_mut();
        let (status, body) = match answer {
            Ok(answer) => answer,
            Err(error) => (0, Bytes::from(error.to_string())),
        };
        let found = |what: &str| body.windows(what.len()).any(|w| w == what.as_bytes());
        let good = status == self.job.status && (self.job.contains.is_empty() || found(&self.job.contains));
        if self.job.keep_ids.is_some() && good {
            book.ids.extend(execution_id(&body));
        }
        let (from, until) = self.window;
        // What began in the warm-up and ended within the time counts for the rate, not as a latency.
        if ended < from || until.is_some_and(|until| ended > until) {
            return;
        }
        if !good {
            *book.refused.entry(status).or_default() += 1;
            if book.sample.is_empty() {
                book.sample = String::from_utf8_lossy(&body[..body.len().min(500)]).into_owned();
            }
            return;
        }
        book.done += 1;
        if sent >= from {
            book.latencies.add(ended - sent);
        }
    }
}

fn execution_id(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Answer {
        execution_id: String,
    }
    serde_json::from_slice::<Answer>(body).ok().map(|answer| answer.execution_id)
}
