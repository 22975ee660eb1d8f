//! Connections and what their errors mean.

use std::{future::Future, str::FromStr, time::Duration};

use sqlx::{
    ConnectOptions, Error, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use crate::{
    error::{OpenError, StoreError},
    journal::Result,
};

/// Where and how to connect for one schema.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    options: PgConnectOptions,
}

impl Link {
    /// Reads an address; names of the schema's tables need no qualification on its connections.
    pub(crate) fn new(url: &str, schema: &'static str) -> std::result::Result<Self, OpenError> {
        let options = PgConnectOptions::from_str(url).map_err(|err| OpenError::BadUrl {
            url: without_password(url),
            why: format!("{err}; write postgres://USER:PASSWORD@HOST:PORT/DATABASE"),
        })?;
        let options = options
            .application_name("orchestra")
            .options([("search_path", schema), ("jit", "off")])
            .statement_cache_capacity(200)
            .disable_statement_logging();
        Ok(Self { options })
    }

    /// What it points at, for messages.
    pub(crate) fn server(&self) -> String {
        format!("PostgreSQL at {}:{}", self.options.get_host(), self.options.get_port())
    }

    /// A pool for reads and single statements. Connections are not tested before use: [`retrying`] does better.
    pub(crate) fn pool(&self, connections: u32, wait: Duration) -> PgPool {
        PgPoolOptions::new()
            .max_connections(connections.max(1))
            .acquire_timeout(wait)
            .test_before_acquire(false)
            .connect_lazy_with(self.options.clone())
    }

    /// A connection of its own for a committer. Its two statements are planned once, for indexes: the tables may be
    /// empty when that happens, and a plan made then must serve when they are not.
    pub(crate) async fn committer(&self) -> sqlx::Result<PgConnection> {
        let options = self.options.clone().options([
            ("plan_cache_mode", "force_generic_plan"),
            ("enable_seqscan", "off"),
            ("enable_hashjoin", "off"),
            ("enable_mergejoin", "off"),
        ]);
        options.connect().await
    }

    /// A plain connection.
    pub(crate) async fn connect(&self) -> sqlx::Result<PgConnection> {
        self.options.connect().await
    }
}

fn without_password(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme + 3 < at => {
            let user = url[scheme + 3..at].split(':').next().unwrap_or_default();
            format!("{}://{user}:***{}", &url[..scheme], &url[at..])
        }
        _ => url.to_owned(),
    }
}

/// What an error of the driver means for the statement that got it.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The connection is gone: nobody knows whether the statement took effect.
    Lost(String),
    /// The statement had no effect and may be sent again as it is.
    Again(String),
    /// The log holds such a row already.
    Duplicate(String),
    /// The server's disk failed, or it holds another schema than we know.
    Fatal(String),
    /// The statement is refused for what it says.
    Refused(String),
    /// The store was closed while the server was away.
    Closed,
}

impl Fault {
    pub(crate) fn of(err: &Error) -> Self {
        let Error::Database(cause) = err else {
            return match err {
                Error::Encode(_)
                | Error::Decode(_)
                | Error::ColumnDecode { .. }
                | Error::InvalidArgument(_)
                | Error::ColumnIndexOutOfBounds { .. }
                | Error::RowNotFound => Self::Refused(err.to_string()),
                _ => Self::Lost(err.to_string()),
            };
        };
        let code = cause.code().unwrap_or_default().into_owned();
        let text = format!("{} ({code})", cause.message());
        match code.as_str() {
            "23505" if matches!(cause.constraint(), Some("log_execution" | "log_position")) => {
                Self::Duplicate(text)
            }
            // Serialization failure, deadlock, lock timeout, cancelled statement, standby: rolled back for certain.
            "40001" | "40P01" | "55P03" | "57014" | "25006" => Self::Again(text),
            // The server goes down or throws us out: a commit may have happened before.
            "57P01" | "57P02" | "57P03" | "57P05" => Self::Lost(text),
            "53300" | "53400" => Self::Lost(text),
            "53100" | "58030" | "XX001" | "XX002" => Self::Fatal(text),
            _ if code.starts_with("08") => Self::Lost(text),
            // No such table, column, schema, right: the database is not the one that was migrated.
            _ if code.starts_with("42") => Self::Fatal(text),
            _ => Self::Refused(text),
        }
    }

    pub(crate) fn into_error(self) -> StoreError {
        match self {
            Self::Lost(why) | Self::Again(why) => StoreError::Unavailable(why),
            Self::Duplicate(what) => StoreError::TwoOwners { what },
            Self::Fatal(why) => StoreError::Fatal(why),
            Self::Refused(why) => StoreError::Refused(why),
            Self::Closed => StoreError::Unavailable("the store was closed while its server was away".into()),
        }
    }
}

/// The error of a statement that is not sent again.
pub(crate) fn classify(err: Error) -> StoreError {
    Fault::of(&err).into_error()
}

/// Runs a read, or a write that may be repeated, again when its connection turns out to be dead: after a restart of the
/// server every pooled connection is, once.
pub(crate) async fn retrying<T, F, Fut>(pool: &PgPool, run: F) -> Result<T>
where
    F: Fn(PgPool) -> Fut,
    Fut: Future<Output = sqlx::Result<T>>,
{
    let mut tries = pool.options().get_max_connections() + 1;
    loop {
        match run(pool.clone()).await {
            Ok(value) => return Ok(value),
            Err(err @ (Error::PoolTimedOut | Error::PoolClosed)) => {
                return Err(StoreError::Unavailable(err.to_string()));
            }
            Err(err) => match Fault::of(&err) {
                Fault::Lost(_) | Fault::Again(_) if tries > 1 => tries -= 1,
                fault => return Err(fault.into_error()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_password() {
        for (url, want) in [
            ("postgres://me:secret@host:5432/db", "postgres://me:***@host:5432/db"),
            ("postgres://host/db", "postgres://host/db"),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(without_password(url), want);
        }
        let refused = Link::new("postgres://me:secret@host:port/db", "x").unwrap_err().to_string();
        assert!(refused.contains("HOST:PORT") && !refused.contains("secret"), "{refused}");
    }
}
