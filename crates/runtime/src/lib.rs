//! Floor 3: what every service shares, so that a binary only names its roles.
//!
//! - [`config`]: one typed settings tree, layered from defaults, a file, the environment and flags.
//! - [`Role`], [`start`], [`run`]: ports are bound first, then the roles start, then they serve; SIGTERM drains.
//! - [`SharedBus`], [`Settings::open_database`]: the bus and the database that the settings name.
//! - [`Peers`]: another service, in this process or elsewhere, behind one channel type.
//! - [`call`]: the stack that both kinds of peer pass: deadline, panics, trace, call context.
//! - [`Metrics`], [`Telemetry`], [`trace`]: logs, OTLP, Prometheus, W3C trace context.
//!
//! It knows no service: roles and peers are names here, contracts come from the roles.

mod backing;
pub mod call;
mod clock;
pub mod config;
mod drain;
mod metrics;
mod ops;
mod peers;
mod ports;
mod process;
mod readiness;
mod role;
mod run;
mod running;
mod serve;
mod spans;
mod start;
mod telemetry;
pub mod trace;

pub use backing::SharedBus;
pub use clock::SystemClock;
pub use config::{Config, ConfigArgs, Settings};
pub use drain::Drain;
pub use metrics::{Counter, CounterFamily, Gauge, GaugeFamily, Histogram, Metrics};
pub use ops::OPS_PATHS;
pub use peers::{PeerChannel, PeerError, Peers};
pub use ports::PortInUse;
pub use process::{Fatal, TaskFailed};
pub use readiness::ReadyFlag;
pub use role::{BoundPorts, Role, RoleContext, Service};
pub use run::{install_tls_provider, run, run_telling, run_with};
pub use running::Running;
pub use spans::{PastSpan, Spans};
pub use start::{Listen, Options, StartError, start};
pub use telemetry::{Telemetry, TelemetryError};
