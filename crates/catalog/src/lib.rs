//! Floor 1: which agents exist, what they can do, how they are.
//!
//! - [`definition`]: an agent as its owner describes it, read from JSON, YAML or an A2A card, checked to the last field.
//! - [`snapshot`]: all agents of a tenant at one revision, immutable, cheap to share, indexed.
//! - [`need`]: matching a task's need to agents, with the reason when nothing matches.
//! - [`health`]: measured facts in, status and score out; [`measure`]: the facts, kept with decay.
//!
//! Pure: no IO, no clock, no randomness. What it refuses: to believe a health status that somebody sends, to fetch a
//! schema from anywhere, to guess what an unknown key meant (it names the nearest known one).

pub mod amount;
pub mod card;
pub mod definition;
pub mod health;
pub mod measure;
pub mod need;
mod read;
mod reader;
pub mod schema;
pub mod snapshot;
mod write;

pub use card::{Card, CardSkill};
pub use definition::{AgentDefinition, Binding, Capability, Checked, Instance, Interface, Rejected};
pub use health::{Assessment, Status};
pub use need::{Candidate, Match, Need, Outcome, PROVIDERS};
pub use snapshot::{AgentEntry, AgentState, Change, HealthReport, InstanceEntry, Snapshot};
