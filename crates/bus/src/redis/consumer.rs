//! A member of a group on Redis: a small state machine around XREADGROUP and XAUTOCLAIM.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use async_trait::async_trait;
use futures::{FutureExt as _, future::BoxFuture};
use redis::{Cmd, Pipeline, Value, aio::MultiplexedConnection};
use tokio::time::Instant;

use super::{
    Shared,
    link::Failure,
    marks_key,
    wire::{self, Entry},
};
use crate::{
    Acks, BusError, CatchUp, Consumer, Delivery, EntryId, Kind, Message, Receipt, Received, Sharing, Stream,
    Subscription, metrics::Following,
};

const RECONNECT_DELAY_FIRST: Duration = Duration::from_millis(20);
/// Most ids in one acknowledgement.
const ACK_CHUNK: usize = 1000;
/// Idle time of an entry that was released: longer than any `claim_after`.
const RELEASED_MS: u64 = 400 * 24 * 3600 * 1000;

pub(super) struct RedisConsumer {
    member: Arc<Member>,
    /// Away while a step is under way.
    reader: Option<Reader>,
    /// A dropped `next` leaves its step here, so that the entries it was given are not lost.
    step: Option<BoxFuture<'static, (Reader, Result<(), BusError>)>>,
    ready: VecDeque<Received>,
}

/// What a consumer and its acknowledgements share.
struct Member {
    shared: Arc<Shared>,
    stream: Stream,
    subscription: Subscription,
    _following: Following,
}

/// What the consumer reads next.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// What is pending under our own name, after this entry; then others' when `then_claim`, else new entries.
    Own { after: EntryId, then_claim: bool },
    /// What is pending for so long, whoever holds it.
    Claim { cursor: EntryId, min_idle: Duration },
    /// Entries that the group has not seen.
    New,
}

struct Reader {
    member: Arc<Member>,
    connection: Option<MultiplexedConnection>,
    was_connected: bool,
    phase: Phase,
    next_pass: Instant,
    /// The newest entry that was read as new: a reply that is lost with its connection lies after it.
    last_new: EntryId,
    retry_delay: Duration,
    out: VecDeque<Received>,
}

impl RedisConsumer {
    pub(super) fn new(shared: Arc<Shared>, stream: &Stream, subscription: Subscription) -> Self {
        let phase = match subscription.options.sharing {
            Sharing::Exclusive => Phase::Claim { cursor: EntryId::ZERO, min_idle: Duration::ZERO },
            Sharing::Shared => Phase::Own { after: EntryId::ZERO, then_claim: true },
        };
        let _following = shared.metrics.follow(stream, &subscription.group);
        let member = Arc::new(Member { shared, stream: stream.clone(), subscription, _following });
        let reader = Reader {
            member: member.clone(),
            connection: None,
            was_connected: false,
            phase,
            next_pass: Instant::now() + member.subscription.options.pass_interval(),
            last_new: EntryId::ZERO,
            retry_delay: RECONNECT_DELAY_FIRST,
            out: VecDeque::new(),
        };
        Self { member, reader: Some(reader), step: None, ready: VecDeque::new() }
    }
}

#[async_trait]
impl Consumer for RedisConsumer {
    async fn next(&mut self) -> Result<Received, BusError> {
        loop {
            if let Some(received) = self.ready.pop_front() {
                return Ok(received);
            }
            if let Some(mut reader) = self.reader.take() {
                let step = async move {
                    let result = reader.step().await;
                    (reader, result)
                };
                self.step = Some(step.boxed());
            }
            if let Some(step) = &mut self.step {
                let (mut reader, result) = step.await;
                self.step = None;
                self.ready.append(&mut reader.out);
                self.reader = Some(reader);
                result?;
            }
        }
    }

    fn acks(&self) -> Arc<dyn Acks> {
        self.member.clone()
    }
}

impl Reader {
    /// Reads until there is something to hand out, reconnecting as often as it takes.
    async fn step(&mut self) -> Result<(), BusError> {
        while self.out.is_empty() {
            match self.try_step().await {
                Ok(()) => self.retry_delay = RECONNECT_DELAY_FIRST,
                Err(Failure::NoGroup | Failure::NoKey) => self.group_is_gone().await,
                Err(Failure::Misconfigured(cause)) => return Err(BusError::Misconfigured(cause)),
                Err(Failure::Unavailable(cause) | Failure::Memory(cause)) => self.back_off(&cause).await,
            }
        }
        Ok(())
    }

    async fn back_off(&mut self, cause: &str) {
        let stream = &self.member.stream;
        // Once per outage: with a hundred streams every further try would flood the log.
        match self.retry_delay {
            RECONNECT_DELAY_FIRST => {
                tracing::warn!(%stream, cause, "event stream not readable, reconnecting")
            }
            retry_in => tracing::debug!(%stream, cause, ?retry_in, "event stream still not readable"),
        }
        self.connection = None;
        tokio::time::sleep(self.retry_delay.mul_f64(rand::random_range(0.5..1.0))).await;
        let delay_max = self.member.shared.options.reconnect_delay_max;
        self.retry_delay = (self.retry_delay * 2).min(delay_max);
    }

    /// Everything was lost, or the stream was deleted: what was pending is gone with it.
    async fn group_is_gone(&mut self) {
        self.phase = Phase::New;
        self.last_new = EntryId::ZERO;
        if let Err(failure) = self.ensure_group().await {
            self.back_off(&format!("{failure:?}")).await;
            return;
        }
        // Told even when another consumer was faster: it may not be in the way of the same entries.
        self.notice(CatchUp::GroupCreated);
    }

    async fn try_step(&mut self) -> Result<(), Failure> {
        if self.connection.is_none() {
            return self.connect().await;
        }
        let options = &self.member.subscription.options;
        if matches!(self.phase, Phase::New) && Instant::now() >= self.next_pass {
            self.phase = Phase::Claim { cursor: EntryId::ZERO, min_idle: options.claim_after };
            if self.take_mark().await? {
                self.trimmed();
            }
        }
        match self.phase {
            Phase::Own { after, then_claim } => self.read_own(after, then_claim).await,
            Phase::Claim { cursor, min_idle } => self.claim(cursor, min_idle).await,
            Phase::New => self.read_new().await,
        }
    }

    async fn connect(&mut self) -> Result<(), Failure> {
        let shared = &self.member.shared;
        let patience = self.member.subscription.options.claim_every;
        self.connection = Some(shared.link.connect(patience).await?);
        if self.was_connected {
            shared.metrics.reconnects.fetch_add(1, Relaxed);
            self.phase = Phase::Own { after: self.last_new, then_claim: false };
        }
        self.was_connected = true;
        if self.ensure_group().await? {
            self.phase = Phase::New;
            self.last_new = EntryId::ZERO;
            self.notice(CatchUp::GroupCreated);
        }
        self.sweep().await
    }

    /// Removes consumers that were given up from the group, so that it does not grow with every restart.
    async fn sweep(&mut self) -> Result<(), Failure> {
        let member = &self.member;
        let after = member.shared.options.forget_consumer_after.as_millis();
        let mut script = member.shared.sweep.prepare_invoke();
        script.key(self.key()).arg(self.group()).arg(after.to_string());
        member.shared.link.run_script(&script).await?;
        Ok(())
    }

    /// Creates the group at the start of the stream; false when it is there.
    async fn ensure_group(&mut self) -> Result<bool, Failure> {
        let mut create = redis::cmd("XGROUP");
        create.arg("CREATE").arg(self.key()).arg(self.group()).arg("0").arg("MKSTREAM");
        match self.run(&create).await {
            Ok(_) => Ok(true),
            Err(Failure::Unavailable(cause)) if cause.contains("BUSYGROUP") => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    async fn read_new(&mut self) -> Result<(), Failure> {
        // BLOCK 0 would wait for ever, and a claim pass is due by then.
        let wait = self.next_pass.saturating_duration_since(Instant::now()).as_millis().max(1);
        let mut read = self.xreadgroup();
        read.arg("BLOCK").arg(wait.to_string()).arg("STREAMS").arg(self.key()).arg(">");
        let reply = self.run(&read).await?;
        let entries = wire::entries_of_read(reply).ok_or_else(|| wire::unexpected("list of entries"))?;
        if let Some((newest, _)) = entries.last() {
            self.last_new = *newest;
        }
        let entries = entries.into_iter().filter_map(|(id, message)| Some((id, 1, message?))).collect();
        self.hand_out(entries);
        Ok(())
    }

    async fn read_own(&mut self, after: EntryId, then_claim: bool) -> Result<(), Failure> {
        let mut read = self.xreadgroup();
        read.arg("STREAMS").arg(self.key()).arg(after.to_string());
        let reply = self.run(&read).await?;
        let entries = wire::entries_of_read(reply).ok_or_else(|| wire::unexpected("list of entries"))?;
        let claim_after = self.member.subscription.options.claim_after;
        self.phase = match entries.last() {
            Some((last, _)) => Phase::Own { after: *last, then_claim },
            None if then_claim => Phase::Claim { cursor: EntryId::ZERO, min_idle: claim_after },
            None => Phase::New,
        };
        let gone = entries.iter().filter(|(_, message)| message.is_none());
        let gone: Vec<_> = gone.map(|(id, _)| id.to_string()).collect();
        if !gone.is_empty() {
            let mut ack = redis::cmd("XACK");
            ack.arg(self.key()).arg(self.group()).arg(&gone);
            self.run(&ack).await?;
            self.trimmed();
        }
        self.hand_out_again(entries).await
    }

    async fn claim(&mut self, cursor: EntryId, min_idle: Duration) -> Result<(), Failure> {
        let mut claim = redis::cmd("XAUTOCLAIM");
        claim.arg(self.key()).arg(self.group()).arg(self.consumer());
        claim
            .arg(min_idle.as_millis().to_string())
            .arg(cursor.to_string())
            .arg("COUNT")
            .arg(self.batch_max());
        let reply = wire::array(self.run(&claim).await?).unwrap_or_default();
        let mut parts = reply.into_iter();
        let cursor = parts.next().as_ref().and_then(wire::id).ok_or_else(|| wire::unexpected("cursor"))?;
        let entries =
            parts.next().and_then(wire::entries).ok_or_else(|| wire::unexpected("list of entries"))?;
        let gone = parts.next().and_then(wire::array).unwrap_or_default();
        self.phase = match cursor {
            EntryId::ZERO => {
                // From the end of a pass, so that a slow one leaves time to read what is new.
                self.next_pass = Instant::now() + self.member.subscription.options.pass_interval();
                Phase::New
            }
            cursor => Phase::Claim { cursor, min_idle },
        };
        if !gone.is_empty() {
            self.trimmed();
        }
        self.hand_out_again(entries).await
    }

    /// Hands out entries that were delivered before: Redis is asked how often.
    async fn hand_out_again(&mut self, entries: Vec<Entry>) -> Result<(), Failure> {
        let entries: Vec<(EntryId, Message)> =
            entries.into_iter().filter_map(|(id, message)| Some((id, message?))).collect();
        if entries.is_empty() {
            return Ok(());
        }
        let mut pipeline = Pipeline::with_capacity(entries.len());
        for (id, _) in &entries {
            let id = id.to_string();
            pipeline.cmd("XPENDING").arg(self.key()).arg(self.group()).arg(&id).arg(&id).arg(1);
        }
        let connection = self.connection.as_mut().ok_or_else(not_connected)?;
        let replies: Vec<Value> = pipeline.query_async(connection).await?;
        let count = |reply: Value| {
            let first = wire::array(reply)?.into_iter().next()?;
            u32::try_from(wire::integer(wire::array(first)?.get(3)?)?).ok()
        };
        // Acknowledged meanwhile by the one who had it: nothing to hand out.
        let counted = entries.into_iter().zip(replies);
        let handed = counted.filter_map(|((id, message), reply)| Some((id, count(reply)?, message)));
        self.hand_out(handed.collect());
        Ok(())
    }

    fn hand_out(&mut self, entries: Vec<(EntryId, u32, Message)>) {
        if entries.is_empty() {
            return;
        }
        let received = Instant::now();
        let deliveries_max = self.member.subscription.options.deliveries_max;
        let batch: Vec<_> = entries
            .into_iter()
            .map(|(id, deliveries, message)| Delivery {
                receipt: Receipt { id, received },
                deliveries,
                exhausted: deliveries > deliveries_max,
                message,
            })
            .collect();
        self.member.metrics().handed_out(&batch);
        self.out.push_back(Received::Batch(batch));
    }

    /// Whether a trim marked this group since the last time; takes the mark away.
    async fn take_mark(&mut self) -> Result<bool, Failure> {
        let mut take = redis::cmd("HDEL");
        take.arg(marks_key(&self.member.stream)).arg(self.group());
        Ok(wire::integer(&self.run(&take).await?) == Some(1))
    }

    fn trimmed(&mut self) {
        self.member.metrics().trimmed_unread.fetch_add(1, Relaxed);
        self.notice(CatchUp::Trimmed);
    }

    fn notice(&mut self, catch_up: CatchUp) {
        self.out.push_back(Received::CatchUp(catch_up));
    }

    async fn run(&mut self, command: &Cmd) -> Result<Value, Failure> {
        let connection = self.connection.as_mut().ok_or_else(not_connected)?;
        Ok(connection.send_packed_command(command).await.and_then(Value::extract_error)?)
    }

    fn xreadgroup(&self) -> Cmd {
        let mut read = redis::cmd("XREADGROUP");
        read.arg("GROUP").arg(self.group()).arg(self.consumer()).arg("COUNT").arg(self.batch_max());
        read
    }

    fn key(&self) -> &str {
        self.member.stream.key()
    }
    fn group(&self) -> &str {
        &self.member.subscription.group
    }
    fn consumer(&self) -> &str {
        &self.member.subscription.consumer
    }
    fn batch_max(&self) -> usize {
        self.member.subscription.options.batch_max.max(1)
    }
}

fn not_connected() -> Failure {
    Failure::Unavailable("not connected".into())
}

fn ids_of(receipts: &[Receipt]) -> Vec<String> {
    receipts.iter().map(|receipt| receipt.id.to_string()).collect()
}

impl Member {
    fn metrics(&self) -> &crate::FamilyMetrics {
        self.shared.metrics.family(self.stream.family())
    }

    async fn touch(&self, receipts: &[Receipt], idle_ms: u64) -> Result<(), BusError> {
        for chunk in receipts.chunks(ACK_CHUNK) {
            let mut script = self.shared.touch.prepare_invoke();
            script.key(self.stream.key()).arg(&self.subscription.group).arg(&self.subscription.consumer);
            script.arg(idle_ms).arg(ids_of(chunk));
            match self.shared.link.run_script(&script).await {
                // Everything was lost: nothing is pending any more.
                Ok(_) | Err(Failure::NoGroup | Failure::NoKey) => {}
                Err(failure) => return Err(failure.into()),
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Acks for Member {
    async fn ack(&self, receipts: &[Receipt]) -> Result<(), BusError> {
        for chunk in receipts.chunks(ACK_CHUNK) {
            let ids = ids_of(chunk);
            let mut pipeline = Pipeline::new();
            pipeline.cmd("XACK").arg(self.stream.key()).arg(&self.subscription.group).arg(&ids);
            if self.stream.kind() == Kind::Queue {
                // In one transaction: an entry that is acknowledged and not deleted would stay for ever.
                pipeline.atomic().cmd("XDEL").arg(self.stream.key()).arg(&ids);
            }
            self.shared.link.run_all(&pipeline).await?;
            chunk.iter().for_each(|receipt| self.metrics().handled(receipt.received.elapsed()));
        }
        Ok(())
    }

    async fn release(&self, receipts: &[Receipt]) -> Result<(), BusError> {
        self.touch(receipts, RELEASED_MS).await
    }

    async fn extend(&self, receipts: &[Receipt]) -> Result<(), BusError> {
        self.touch(receipts, 0).await
    }
}
