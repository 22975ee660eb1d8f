//! The repositories of registry and planner, each promise on both databases.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a promise that is not kept ends the test"
)]

use std::any::Any;

use store::Database;

/// Makes a test of every named function for every database.
macro_rules! on_every_database {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let (database, _home) = crate::sqlite();
                super::$name(database).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(crate::postgres().await).await;
            })*
        }
    };
}

mod db;
mod hooks;
mod planner;
mod registry;
mod sessions;

fn sqlite() -> (Database, Box<dyn Any>) {
    let folder = tempfile::tempdir().unwrap();
    (Database::Folder(folder.path().to_path_buf()), Box::new(folder))
}

async fn postgres() -> Database {
    Database::Postgres(tokio::task::spawn_blocking(testkit::fresh_database).await.unwrap())
}
