//! Dead letters: messages that a consumer gave up on.

use api::Fault;
use base::{CallContext, ErrorCode, ExecutionId};
use bus::{Family, Message, Stream};
use prost::Message as _;
use proto::{common::v1::PageRequest, executor::v1 as pb, log::v1::InboxLetter};
use serde_json::json;
use store::journal::{DeadLetter, LetterState};
use uuid::Uuid;
use workflow::{
    Assignment, CallKey, State,
    plan::{Need, NodeKind, Spread},
};

use crate::{engine::away, topics::TRIGGERS};

use super::{App, StartRequest};

impl App {
    /// A page of dead letters, by id.
    pub async fn dead_letters(
        &self,
        context: &CallContext,
        page: &PageRequest,
    ) -> Result<pb::ListDeadLettersResponse, Fault> {
        let limit = if page.page_size <= 0 { 50 } else { page.page_size.min(1000) as u32 };
        let after = match page.page_token.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|_| Fault::bad("page_token", "is not a token of this list"))?),
        };
        let found = self.journal.list_dead_letters(&context.tenant, after, limit).await.map_err(away)?;
        let next = (found.len() as u32 == limit).then(|| found.last().map(|l| l.id.to_string())).flatten();
        Ok(pb::ListDeadLettersResponse {
            dead_letters: found.into_iter().map(wire).collect(),
            next_page_token: next.unwrap_or_default(),
        })
    }

    /// One dead letter.
    pub async fn dead_letter(&self, context: &CallContext, id: &str) -> Result<pb::DeadLetter, Fault> {
        self.letter(context, id).await.map(wire)
    }

    async fn letter(&self, context: &CallContext, id: &str) -> Result<DeadLetter, Fault> {
        let id = id.parse().map_err(|_| Fault::bad("id", "is not the id of a dead letter"))?;
        let found = self.journal.get_dead_letter(&context.tenant, id).await.map_err(away)?;
        found.ok_or_else(|| Fault::not_found("dead letter", id))
    }

    /// Puts a dead letter back on its stream (one of a trigger: makes the start it tells of; one of a compensation that
    /// failed: makes its call again, as an execution of its own), then marks it: a crash between the two does it twice,
    /// and consumers drop what they have seen.
    pub async fn redrive(&self, context: &CallContext, id: &str) -> Result<pb::DeadLetter, Fault> {
        let mut letter = self.letter(context, id).await?;
        match (self.topics.get(), failed_undo(&letter)) {
            (Some(topics), _) if letter.consumer == TRIGGERS => topics.redrive(letter.body.clone()).await?,
            (_, Some(failed)) => self.undo_again(context, &letter, &failed).await?,
            _ => self.put_back(&letter).await?,
        }
        self.journal
            .mark_dead_letter(&context.tenant, letter.id, LetterState::Redriven)
            .await
            .map_err(away)?;
        letter.state = LetterState::Redriven;
        Ok(wire(letter))
    }

    /// Makes the call that could not undo a task once more, with the same input: an execution of its own, the same one
    /// for every repeat, tied to the one that it mends by its correlation id.
    async fn undo_again(
        &self,
        context: &CallContext,
        letter: &DeadLetter,
        failed: &InboxLetter,
    ) -> Result<(), Fault> {
        let id = Uuid::from_slice(&failed.execution).map_err(|_| Fault::internal())?;
        let (_, state) = self.folded_with_plan(context, ExecutionId::new(id)).await?;
        let by_hand = |why: &str| {
            let words = format!("{why}: undo task {} by hand", failed.task);
            Fault::new(ErrorCode::InvalidState, words)
        };
        let undo = state.find_task(&failed.task).and_then(|task| state.with_undo_of(task));
        let (state, undo) = undo.ok_or_else(|| by_hand("it has no compensation"))?;
        let definition = undoing(&failed.workflow, &state, undo)
            .ok_or_else(|| by_hand("its compensation is no single call to an agent"))?;
        let input = state.call_input(CallKey::new(undo, 0)).map_err(|e| by_hand(&e.to_string()))?;
        let start = StartRequest {
            inline: Some((definition, "json".into())),
            input: Some(input),
            key: format!("redrive/{}", letter.id),
            correlation_id: id.to_string(),
            metadata_json: json!({"redrives": letter.id}).to_string(),
            ..StartRequest::default()
        };
        self.start(context, start).await.map(drop)
    }

    async fn put_back(&self, letter: &DeadLetter) -> Result<(), Fault> {
        let stream = self.stream_of(letter)?;
        let message = Message::new(letter.body.clone());
        self.bus.publish(&stream, &[message]).await.map(drop).map_err(|e| {
            tracing::warn!(error = %e, "a dead letter could not be put back");
            Fault::unavailable("the bus is away; try again").retry_after_ms(1000)
        })
    }

    fn stream_of(&self, letter: &DeadLetter) -> Result<Stream, Fault> {
        Stream::parse(&letter.stream)
            .ok_or_else(|| Fault::bad("id", format!("its stream {:?} is unknown", letter.stream)))
    }
}

/// The compensation that failed, when the letter tells of one.
fn failed_undo(letter: &DeadLetter) -> Option<InboxLetter> {
    let of_commands = Stream::parse(&letter.stream).is_some_and(|stream| stream.family() == Family::Commands);
    let body = InboxLetter::decode(letter.body.clone()).ok().filter(|_| of_commands)?;
    (body.execution.len() == 16 && !body.task.is_empty()).then_some(body)
}

/// A definition of the one call: to the agent that failed at it; when it never reached one, to whoever fits. `None`: it is
/// another kind of work.
fn undoing(workflow: &str, state: &State, undo: u32) -> Option<String> {
    let plan = state.task_plan(undo);
    if plan.kind != NodeKind::Call || plan.remote.is_some() || plan.spread != Spread::One {
        return None;
    }
    let last = state.call(CallKey::new(undo, 0)).and_then(|call| call.current.as_deref());
    let mut definition = json!({"name": format!("undo-{workflow}")});
    let mut task = json!({"id": "undo", "input_from": "execution"});
    let mut say = |key: &str, value: serde_json::Value| task[key] = value;
    if let Some(Assignment { agent, capability, .. }) = last.map(|attempt| &*attempt.to) {
        say("agent_id", json!(agent.as_str()));
        if !capability.is_empty() {
            say("capability", json!(&**capability));
        }
    } else {
        let need = state.need(undo);
        if *need == Need::default() {
            return None;
        }
        // Who has the role, in its own words: what the role was called is not known here.
        if !need.agent_type.is_empty() || !need.capabilities.is_empty() {
            definition["agents"] =
                json!({"who": {"type": need.agent_type, "capabilities": need.capabilities}});
            say("role", json!("who"));
        }
        let listed = [("tags", &need.tags), ("requirements", &need.requirements)];
        for (key, texts) in listed.into_iter().filter(|(_, texts)| !texts.is_empty()) {
            say(key, json!(texts));
        }
        if let Some(agent) = &need.agent {
            say("agent_id", json!(agent.as_str()));
        }
        if let Some(capability) = &need.capability {
            say("capability", json!(capability));
        }
    }
    definition["tasks"] = json!([task]);
    Some(definition.to_string())
}

fn wire(letter: DeadLetter) -> pb::DeadLetter {
    pb::DeadLetter {
        id: letter.id.to_string(),
        stream: letter.stream,
        group: letter.consumer,
        reason: letter.reason,
        deliveries: letter.deliveries,
        created_at: letter.created_at.rfc3339(),
        body: letter.body.to_vec(),
        state: letter.state.as_str().into(),
    }
}
