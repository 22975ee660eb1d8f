//! Another service, in this process or elsewhere, behind one channel type.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use http::{Request, Response};
use tonic::{
    Code, Status, TimeoutExpired,
    body::Body,
    service::Routes,
    transport::{Channel, ClientTlsConfig, Endpoint},
};
use tower::{Service, ServiceExt as _};

use crate::{
    call::{self, CallService},
    config::PeerAddress,
};

/// A replica that refused a connection is passed over for this long when there are others.
const REST_AFTER_FAILURE: Duration = Duration::from_secs(1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a peer cannot be named.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// `here` without such a role in this process.
    #[error(
        "peer {0} is set to `here`, but its role does not run in this process; set peers.{0} to its address"
    )]
    NotHere(String),
    /// Nothing tells where it is.
    #[error("peer {0} is unknown: its role does not run in this process and it has no address")]
    Unknown(String),
    /// Not an address.
    #[error("{0:?} is not a peer's address: write http://host:port")]
    BadAddress(String),
}

/// The server side of a role in this process: the same stack as behind its port.
pub(crate) type HereService = CallService<Routes>;

/// Filled when the role has started.
#[derive(Debug)]
pub(crate) struct Slot {
    role: String,
    service: OnceLock<HereService>,
}

#[derive(Debug)]
struct Replica {
    channel: Channel,
    /// Milliseconds since the channel was made until which it rests; 0 = in use.
    rests_until_ms: AtomicU64,
}

#[derive(Debug)]
struct Remote {
    name: String,
    replicas: Vec<Replica>,
    next: AtomicUsize,
    made: Instant,
}

#[derive(Clone, Debug)]
enum Kind {
    Here(Arc<Slot>),
    Remote(Arc<Remote>),
}

/// A channel for generated clients: `Client::new(peer)`. Cheap to clone, connects lazily, reconnects by itself.
///
/// Status codes are the same for both kinds: DEADLINE_EXCEEDED when the deadline passes, INTERNAL when the server
/// panics, UNAVAILABLE when it is not there (yet).
#[derive(Clone, Debug)]
pub struct PeerChannel(Kind);

type Answer = Result<Response<Body>, Infallible>;

impl PeerChannel {
    fn remote(name: &str, addresses: &[String]) -> Result<Self, PeerError> {
        let mut replicas = Vec::with_capacity(addresses.len());
        for address in addresses {
            replicas.push(Replica { channel: lazy(address)?, rests_until_ms: AtomicU64::new(0) });
        }
        let remote =
            Remote { name: name.to_owned(), replicas, next: AtomicUsize::new(0), made: Instant::now() };
        Ok(Self(Kind::Remote(Arc::new(remote))))
    }

    /// Whether the peer is a role of this process.
    pub fn is_here(&self) -> bool {
        matches!(self.0, Kind::Here(_))
    }

    /// Whether a role of this process has started; a remote peer counts as started.
    pub(crate) fn has_started(&self) -> bool {
        match &self.0 {
            Kind::Here(slot) => slot.service.get().is_some(),
            Kind::Remote(_) => true,
        }
    }
}

fn lazy(address: &str) -> Result<Channel, PeerError> {
    let bad = || PeerError::BadAddress(address.to_owned());
    let uri: http::Uri = address.parse().map_err(|_| bad())?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) {
        return Err(bad());
    }
    let mut endpoint = Endpoint::from_shared(address.to_owned())
        .map_err(|_| bad())?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    if address.starts_with("https://") {
        endpoint = endpoint.tls_config(ClientTlsConfig::new().with_native_roots()).map_err(|_| bad())?;
    }
    Ok(endpoint.connect_lazy())
}

impl Remote {
    /// Takes turns, passing over replicas that just failed unless all have.
    fn pick(&self) -> &Replica {
        let now = self.now_ms();
        let start = self.next.fetch_add(1, Ordering::Relaxed);
        let n = self.replicas.len();
        let awake = (0..n)
            .map(|i| &self.replicas[(start + i) % n])
            .find(|r| r.rests_until_ms.load(Ordering::Relaxed) <= now);
        awake.unwrap_or(&self.replicas[start % n])
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.made.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn send(self: Arc<Self>, request: Request<Body>) -> Answer {
        let replica = self.pick();
        let mut channel = replica.channel.clone();
        let sent = match channel.ready().await {
            Ok(ready) => ready.call(request).await,
            Err(e) => Err(e),
        };
        sent.or_else(|error| {
            let rest = u64::try_from(REST_AFTER_FAILURE.as_millis()).unwrap_or(u64::MAX);
            let status = transport_status(&self.name, error);
            if status.code() == Code::Unavailable {
                replica.rests_until_ms.store(self.now_ms() + rest, Ordering::Relaxed);
            }
            Ok(status.into_http())
        })
    }
}

/// The status of a call that got no answer. What tells nothing better means that the peer is away.
fn transport_status(name: &str, error: tonic::transport::Error) -> Status {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(e) = cause {
        if e.is::<TimeoutExpired>() {
            return call::deadline_exceeded();
        }
        cause = e.source();
    }
    let status = Status::from_error(Box::new(error));
    match status.code() {
        Code::Unknown | Code::Internal | Code::Cancelled | Code::Unavailable => {
            Status::unavailable(format!("peer {name} is not reachable: {}", status.message()))
        }
        _ => status,
    }
}

impl Service<Request<Body>> for PeerChannel {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match &self.0 {
            Kind::Here(slot) => match slot.service.get() {
                Some(service) => service.clone().call(request),
                None => {
                    let status = Status::unavailable(format!("role {} is starting", slot.role));
                    Box::pin(std::future::ready(Ok(status.into_http())))
                }
            },
            Kind::Remote(remote) => {
                let timeout = match call::read_timeout(request.headers()) {
                    Ok(timeout) => timeout,
                    Err(status) => return Box::pin(std::future::ready(Ok(status.into_http()))),
                };
                let method = request.uri().path().to_owned();
                Box::pin(call::within(Arc::clone(remote).send(request), timeout, method))
            }
        }
    }
}

/// Finds peers by the name of their role, and replicas by their address.
#[derive(Clone, Debug)]
pub struct Peers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    here: BTreeMap<String, Arc<Slot>>,
    named: BTreeMap<String, PeerChannel>,
    /// Replicas that were dialled by address. Bounded by the replicas there ever were at this process's time.
    dialled: Mutex<HashMap<String, PeerChannel>>,
}

impl Peers {
    /// `roles` run in this process. `needed` are the peers of all roles with where the settings say they are and
    /// the address that `auto` stands for when they are not here.
    pub(crate) fn new(
        roles: &[&str],
        needed: &[(String, PeerAddress, Option<String>)],
    ) -> Result<Self, PeerError> {
        let here: BTreeMap<String, Arc<Slot>> = roles
            .iter()
            .map(|role| {
                let slot = Slot { role: (*role).to_owned(), service: OnceLock::new() };
                ((*role).to_owned(), Arc::new(slot))
            })
            .collect();
        let mut named = BTreeMap::new();
        for (name, place, default) in needed {
            let slot = here.get(name).map(|slot| PeerChannel(Kind::Here(Arc::clone(slot))));
            let channel = match (place, slot) {
                (PeerAddress::Auto | PeerAddress::Here, Some(slot)) => slot,
                (PeerAddress::Here, None) => return Err(PeerError::NotHere(name.clone())),
                (PeerAddress::At(addresses), _) => PeerChannel::remote(name, addresses)?,
                (PeerAddress::Auto, None) => {
                    let address = default.clone().ok_or_else(|| PeerError::Unknown(name.clone()))?;
                    PeerChannel::remote(name, &[address])?
                }
            };
            named.insert(name.clone(), channel);
        }
        Ok(Self(Arc::new(Inner { here, named, dialled: Mutex::default() })))
    }

    /// The peer called `name`: one that the role `needs`, or a role of this process.
    pub fn get(&self, name: &str) -> Result<PeerChannel, PeerError> {
        let here = || self.0.here.get(name).map(|slot| PeerChannel(Kind::Here(Arc::clone(slot))));
        self.0.named.get(name).cloned().or_else(here).ok_or_else(|| PeerError::Unknown(name.to_owned()))
    }

    /// The replica at `address` (`http://host:port`). The same address gives the same channel.
    pub fn dial(&self, address: &str) -> Result<PeerChannel, PeerError> {
        let mut dialled = self.0.dialled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = dialled.get(address) {
            return Ok(channel.clone());
        }
        let channel = PeerChannel::remote(address, &[address.to_owned()])?;
        dialled.insert(address.to_owned(), channel.clone());
        Ok(channel)
    }

    /// Forgets the replica at `address`: open calls end, the next `dial` connects anew.
    pub fn hang_up(&self, address: &str) {
        self.0.dialled.lock().unwrap_or_else(PoisonError::into_inner).remove(address);
    }

    /// Makes the role's server reachable for calls from this process.
    pub(crate) fn open(&self, role: &str, service: HereService) {
        if let Some(slot) = self.0.here.get(role) {
            // A role starts once.
            let _ = slot.service.set(service);
        }
    }
}
