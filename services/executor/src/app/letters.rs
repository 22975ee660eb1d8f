//! Dead letters: messages that a consumer gave up on.

use api::Fault;
use base::CallContext;
use bus::{Message, Stream};
use proto::{common::v1::PageRequest, executor::v1 as pb};
use store::journal::{DeadLetter, LetterState};

use crate::{engine::away, topics::TRIGGERS};

use super::App;

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

    /// Puts a dead letter back on its stream (one of a trigger: makes the start it tells of), then marks it: a crash between the two sends it twice, and consumers
    /// drop what they have seen.
    pub async fn redrive(&self, context: &CallContext, id: &str) -> Result<pb::DeadLetter, Fault> {
        let mut letter = self.letter(context, id).await?;
        match self.topics.get().filter(|_| letter.consumer == TRIGGERS) {
            Some(topics) => topics.redrive(letter.body.clone()).await?,
            None => self.put_back(&letter).await?,
        }
        self.journal
            .mark_dead_letter(&context.tenant, letter.id, LetterState::Redriven)
            .await
            .map_err(away)?;
        letter.state = LetterState::Redriven;
        Ok(wire(letter))
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
