//! The promises of [`store::Journal`], each held by every backend.
//!
//! A promise is an async function that takes a [`kit::Kit`]; `on_every_backend!` makes one test of it per backend.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a promise that is not kept ends the test")]

/// Makes a test of every named function for every backend.
macro_rules! on_every_backend {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(crate::kit::sqlite()).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(crate::kit::postgres().await).await;
            })*
        }
    };
}

mod commit;
mod executions;
mod kit;
mod mail;
mod members;
mod postgres_only;
mod proxy;
mod retention;
mod schedules;
mod sqlite_only;
mod topics;
