//! Register, update, read, list, import, heartbeat.

use std::sync::Arc;

use base::{AgentId, Finding, Tenant};
use catalog::{AgentDefinition, Checked, definition::Format};

use super::{
    App, Known, import,
    repo::{Put, content_hash},
};
use crate::error::RegistryError;

/// Agents of a page when the request names no number.
const PAGE_DEFAULT: usize = 50;
/// Most agents of a page.
const PAGE_MAX: usize = 1000;

/// Turns of a write that meets other writers.
const TURNS: u32 = 8;

/// An agent after a write, with what there is to say about its definition.
#[derive(Debug)]
pub(crate) struct Saved {
    pub(crate) known: Arc<Known>,
    pub(crate) findings: Vec<Finding>,
}

/// Which agents a list is of; empty fields take all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) capability: String,
    pub(crate) tag: String,
    pub(crate) health: String,
    pub(crate) environment: String,
    pub(crate) agent_type: String,
}

impl Filter {
    fn check(&self) -> Result<(), RegistryError> {
        if self.health.is_empty() || catalog::Status::parse(&self.health).is_some() {
            return Ok(());
        }
        let known: Vec<&str> = catalog::Status::ALL.iter().map(|s| s.as_str()).collect();
        let rule = format!("{:?} is not a health status: use {}", self.health, known.join(", "));
        Err(RegistryError::BadRequest { field: "health", rule })
    }

    fn takes(&self, known: &Known) -> bool {
        let d = &known.entry.definition;
        let same = |wanted: &str, is: &str| wanted.is_empty() || wanted == is;
        (self.capability.is_empty() || d.capability(&self.capability).is_some())
            && (self.tag.is_empty() || d.has_tag(&self.tag))
            && same(&self.health, known.entry.status().as_str())
            && same(&self.environment, &d.metadata.environment)
            && same(&self.agent_type, &d.agent_type)
    }
}

fn same_card(old: &Known, definition: &AgentDefinition) -> bool {
    definition.card_url.is_some() && old.entry.definition.card_url == definition.card_url
}

impl App {
    fn read_definition(&self, text: &str, format: &str) -> Result<Checked, RegistryError> {
        if text.len() > self.options.definition_bytes_max {
            let max = self.options.definition_bytes_max;
            let rule = format!("has {} bytes; at most {max} are taken (registry.agent_max)", text.len());
            return Err(RegistryError::BadRequest { field: "definition", rule });
        }
        let Some(format) = Format::of(format, text) else {
            let rule = format!("{format:?} is not a format: use json or yaml, or leave it empty");
            return Err(RegistryError::BadRequest { field: "format", rule });
        };
        Ok(AgentDefinition::parse(text, format)?)
    }

    /// Registers a definition. The same one again is the same agent; one that is being removed comes back.
    pub(crate) async fn register(
        &self,
        tenant: &Tenant,
        text: &str,
        format: &str,
    ) -> Result<Saved, RegistryError> {
        let checked = self.read_definition(text, format)?;
        self.save_new(tenant, checked, false).await
    }

    /// Reads a card and registers what it says; an agent that was imported from this card before is refreshed.
    pub(crate) async fn import(
        &self,
        tenant: &Tenant,
        url: &str,
        agent_id: &str,
        capacity: u32,
    ) -> Result<Saved, RegistryError> {
        let checked = import::read(&self.a2a, &self.options, url, agent_id, capacity).await?;
        self.save_new(tenant, checked, true).await
    }

    async fn save_new(
        &self,
        tenant: &Tenant,
        checked: Checked,
        imported: bool,
    ) -> Result<Saved, RegistryError> {
        let Checked { definition, findings } = checked;
        let id = definition.id.clone();
        // A second turn when another writer was faster.
        for _ in 0..TURNS {
            let put = match self.repo.insert(tenant, &definition, self.now()).await? {
                // One that is being removed comes back; one that was imported from this card is refreshed.
                Put::Exists(old) if old.is_draining() || (imported && same_card(&old, &definition)) => {
                    self.repo.update(&old, &definition, self.now()).await?
                }
                put => put,
            };
            match put {
                Put::Done => {
                    self.wrote().await?;
                    let known = self.present(tenant, &id).await?;
                    return Ok(Saved { known, findings });
                }
                Put::Exists(_) => return Err(RegistryError::Exists(id)),
                Put::Again => {}
            }
        }
        Err(RegistryError::Exists(id))
    }

    /// Replaces a definition. `expected` 0 takes whatever is there.
    pub(crate) async fn update(
        &self,
        tenant: &Tenant,
        id: &AgentId,
        text: &str,
        format: &str,
        expected: u64,
    ) -> Result<Saved, RegistryError> {
        let Checked { definition, findings } = self.read_definition(text, format)?;
        if definition.id != *id {
            let rule = format!("its id is {}, the request is about {id}: an id never changes", definition.id);
            return Err(RegistryError::BadRequest { field: "definition", rule });
        }
        let mut present = 0;
        for _ in 0..TURNS {
            let known = self.present(tenant, id).await?;
            present = known.entry.revision;
            if expected != 0 && expected != present {
                break;
            }
            if known.is_draining() {
                return Err(RegistryError::Leaving(id.clone()));
            }
            if known.content_hash == content_hash(&definition) {
                return Ok(Saved { known, findings });
            }
            // Another writer may only have changed the health: then the second turn succeeds.
            if matches!(self.repo.update(&known, &definition, self.now()).await?, Put::Done) {
                self.wrote().await?;
                let known = self.present(tenant, id).await?;
                return Ok(Saved { known, findings });
            }
        }
        Err(RegistryError::Stale { id: id.clone(), expected, present })
    }

    /// One agent, with what there is to say about its definition.
    pub(crate) async fn get(&self, tenant: &Tenant, id: &AgentId) -> Result<Saved, RegistryError> {
        let known = self.present(tenant, id).await?;
        let findings = AgentDefinition::from_value(&known.entry.definition.to_value())
            .map(|c| c.findings)
            .unwrap_or_default();
        Ok(Saved { known, findings })
    }

    /// A page of agents, by id, and where the next one begins.
    pub(crate) async fn list(
        &self,
        tenant: &Tenant,
        filter: &Filter,
        page_size: i32,
        page_token: &str,
    ) -> Result<(Vec<Arc<Known>>, String), RegistryError> {
        filter.check()?;
        let size = match usize::try_from(page_size) {
            Ok(0) => PAGE_DEFAULT,
            Ok(n @ 1..=PAGE_MAX) => n,
            Ok(_) | Err(_) => {
                let rule = format!("{page_size} is not from 1 to {PAGE_MAX}");
                return Err(RegistryError::BadRequest { field: "page.page_size", rule });
            }
        };
        let after = match page_token {
            "" => None,
            token => Some(AgentId::new(token).map_err(|_| RegistryError::BadRequest {
                field: "page.page_token",
                rule: "is not the next_page_token of a page before".into(),
            })?),
        };
        self.refresh().await?;
        let mut agents = self.feed.page(tenant, after.as_ref(), size + 1, |known| filter.takes(known));
        let more = agents.len() > size;
        agents.truncate(size);
        let next = agents.last().filter(|_| more).map(|k| k.id.to_string()).unwrap_or_default();
        Ok((agents, next))
    }

    /// Records that an instance lives.
    pub(crate) async fn heartbeat(
        &self,
        tenant: &Tenant,
        id: &AgentId,
        instance: &str,
        status: &str,
    ) -> Result<(), RegistryError> {
        let degraded = match status {
            "" | "healthy" => false,
            "degraded" => true,
            other => {
                let rule =
                    format!("{other:?} is not what an instance says of itself: use healthy or degraded");
                return Err(RegistryError::BadRequest { field: "status", rule });
            }
        };
        let key = (tenant.clone(), id.clone());
        if self.board.heard(&key, instance, degraded, self.now()) {
            self.judge_later(&key);
            return Ok(());
        }
        // It may have been registered through another replica a moment ago, or its owner is just changing: then the
        // next heartbeat counts, and this one only shows that the instance exists.
        let known = self.present(tenant, id).await?;
        let ids = || known.entry.instances.iter().map(|i| i.instance.id.as_str());
        let exists = if instance.is_empty() { ids().count() == 1 } else { ids().any(|i| i == instance) };
        if !exists {
            let known = ids().collect::<Vec<_>>().join(", ");
            return Err(RegistryError::NoInstance { agent: id.clone(), instance: instance.into(), known });
        }
        if self.board.heard(&key, instance, degraded, self.now()) {
            self.judge_later(&key);
        }
        Ok(())
    }
}
