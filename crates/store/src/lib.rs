//! Floor 2: what is kept, on SQLite and on PostgreSQL.
//!
//! [`journal`] is the executor's store: event log, execution rows, members and shards, written in groups by fenced
//! owners. [`SqliteJournal`] and [`PostgresJournal`] keep its promises; one suite in `tests/` holds both to them.
//! [`topics`] and [`schedules`] are the executor's tables beside it, SQL written once over the journal's connections
//! ([`Tables`]).
//! [`registry`] and [`planner`] are the repositories of those services, written once over [`Db`].
//! [`hooks`] are the executor's tables of hooks, beside its journal.
//! [`migrate`] brings a schema up to date; every service has its own and shares no history with another.
//!
//! This crate sees bytes and header columns, never domain types, except ids and times of `base`.

pub mod budgets;
mod database;
pub mod db;
mod error;
pub mod hooks;
pub mod journal;
pub mod migrate;
pub mod planner;
mod postgres;
pub mod registry;
pub mod schedules;
pub mod sessions;
mod sqlite;
mod tables;
pub mod topics;

pub use database::{Database, DatabaseOptions};
pub use db::Db;
pub use error::{OpenError, StoreError};
pub use journal::Journal;
pub use postgres::{PostgresJournal, PostgresOptions};
pub use sqlite::{SqliteJournal, SqliteOptions};
pub use tables::Tables;
