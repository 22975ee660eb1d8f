//! The database and the bus that the settings name. Every role opens them here, so that all read the settings alike.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use bus::{Bus, InProcessBus, InProcessOptions, RedisBus, RedisOptions};
use store::{Database, DatabaseOptions};

use crate::Settings;

impl Settings {
    /// The database of `database.url`; a folder is made when it is missing.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open_database(&self) -> anyhow::Result<Database> {
        let Some(folder) = self.sqlite_folder() else {
            return Ok(Database::Postgres(self.database.url.expose().to_owned()));
        };
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("database.url: the folder {}", folder.display()))?;
        Ok(Database::Folder(folder))
    }

    /// How services open their part of the database.
    pub fn database_options(&self) -> DatabaseOptions {
        let own = &self.database;
        DatabaseOptions {
            connections: own.pool_max,
            committers: own.committers as usize,
            readers: own.readers as usize,
            acquire_timeout: own.acquire_timeout,
            allow_unsafe_durability: own.allow_unsafe_durability,
        }
    }

    fn redis_options(&self) -> RedisOptions {
        let mut options =
            RedisOptions { command_timeout: self.bus.response_timeout, ..RedisOptions::default() };
        options.limits.retention = self.bus.retention;
        options
    }

    fn in_process_options(&self) -> InProcessOptions {
        let mut options = InProcessOptions::default();
        options.limits.retention = options.limits.retention.min(self.bus.retention);
        options
    }
}

/// The one bus of a process: the first role that asks opens what the settings name, the others get the same.
///
/// Cheap to clone: all clones are one bus.
#[derive(Clone, Default)]
pub struct SharedBus(Arc<Mutex<Option<Arc<dyn Bus>>>>);

impl SharedBus {
    /// The bus: Redis Streams at `bus.url`, else streams inside this process. Connects when it is first used.
    ///
    /// # Errors
    /// When `bus.url` cannot be read.
    pub fn open(&self, settings: &Settings) -> anyhow::Result<Arc<dyn Bus>> {
        let mut opened = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bus) = opened.as_ref() {
            return Ok(bus.clone());
        }
        let bus: Arc<dyn Bus> = match &settings.bus.url {
            Some(url) => {
                let opened = RedisBus::new(url.expose(), settings.redis_options());
                Arc::new(opened.context("bus.url")?)
            }
            None => Arc::new(InProcessBus::new(settings.in_process_options())),
        };
        Ok(opened.insert(bus).clone())
    }
}

impl From<Arc<dyn Bus>> for SharedBus {
    /// A bus that is open already, whatever the settings name.
    fn from(bus: Arc<dyn Bus>) -> Self {
        Self(Arc::new(Mutex::new(Some(bus))))
    }
}

impl std::fmt::Debug for SharedBus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SharedBus")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::SecretUrl;

    #[test]
    fn every_setting_of_the_database_and_the_bus_reaches_them() {
        let mut settings = Settings::default();
        settings.database.url = SecretUrl::new("postgres://u@h/d");
        settings.database.pool_max = 3;
        settings.database.committers = 4;
        settings.database.readers = 5;
        settings.database.acquire_timeout = Duration::from_millis(60);
        settings.database.allow_unsafe_durability = true;
        settings.bus.retention = Duration::from_secs(70);
        settings.bus.response_timeout = Duration::from_millis(800);
        let want = DatabaseOptions {
            connections: 3,
            committers: 4,
            readers: 5,
            acquire_timeout: Duration::from_millis(60),
            allow_unsafe_durability: true,
        };
        assert_eq!(settings.database_options(), want);
        assert_eq!(settings.open_database().unwrap(), Database::Postgres("postgres://u@h/d".into()));
        let redis = settings.redis_options();
        assert_eq!(redis.command_timeout, Duration::from_millis(800));
        assert_eq!(redis.limits.retention, Duration::from_secs(70));
        assert_eq!(settings.in_process_options().limits.retention, Duration::from_secs(70));
    }

    #[test]
    fn roles_of_one_process_share_one_bus() {
        let (settings, shared) = (Settings::default(), SharedBus::default());
        let one = shared.open(&settings).unwrap();
        assert!(Arc::ptr_eq(&one, &shared.clone().open(&settings).unwrap()));
        let mut wrong = Settings::default();
        wrong.bus.url = Some(SecretUrl::new("redis://:secret@h:notaport"));
        let refused = SharedBus::default().open(&wrong).err().unwrap();
        assert!(!format!("{refused:#}").contains("secret"), "{refused:#}");
    }

    #[test]
    fn the_folder_of_the_database_is_made() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("a/b");
        let mut settings = Settings::default();
        settings.database.url = SecretUrl::new(format!("sqlite:{}", folder.display()));
        assert_eq!(settings.open_database().unwrap(), Database::Folder(folder.clone()));
        assert!(folder.is_dir());
        std::fs::write(home.path().join("file"), "").unwrap();
        settings.database.url = SecretUrl::new(home.path().join("file").display().to_string());
        assert!(format!("{:#}", settings.open_database().unwrap_err()).contains("database.url"));
    }
}
