//! A member of a group on the in-process bus.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::Instant;

use super::{
    Channel, Shared,
    state::{Claim, Handed},
};
use crate::{
    Acks, BusError, CatchUp, Consumer, Delivery, EntryId, Receipt, Received, Sharing, Stream, Subscription,
    metrics::Following,
};

pub(super) struct InProcessConsumer {
    member: Arc<Member>,
    subscription: Subscription,
    /// The claim pass under way: pages after this id, of entries idle for so long.
    pass: Option<(EntryId, Duration, bool)>,
    next_pass: Instant,
    joined: bool,
}

/// What a consumer and its acknowledgements share.
struct Member {
    shared: Arc<Shared>,
    stream: Stream,
    channel: Arc<Channel>,
    group: Arc<str>,
    consumer: Arc<str>,
    _following: Following,
}

impl InProcessConsumer {
    pub(super) fn new(shared: Arc<Shared>, stream: &Stream, subscription: Subscription) -> Self {
        let member = Member {
            channel: shared.channel(stream),
            _following: shared.metrics.follow(stream, &subscription.group),
            shared,
            stream: stream.clone(),
            group: subscription.group.as_str().into(),
            consumer: subscription.consumer.as_str().into(),
        };
        Self { member: Arc::new(member), subscription, pass: None, next_pass: Instant::now(), joined: false }
    }

    /// What there is right now, if anything.
    fn poll(&mut self) -> Option<Received> {
        let Member { shared, channel, group, consumer, .. } = &*self.member;
        let options = &self.subscription.options;
        let mut state = channel.lock();
        let created = state.ensure_group(group);
        if !self.joined || created {
            state.join(group, consumer);
            self.joined = true;
            let (min_idle, own_only) = (Duration::ZERO, options.sharing == Sharing::Shared);
            self.pass = Some((EntryId::ZERO, min_idle, own_only));
            self.next_pass = Instant::now() + options.pass_interval();
        }
        if created {
            return Some(Received::CatchUp(CatchUp::GroupCreated));
        }
        if state.take_missed(group) {
            self.metrics().trimmed_unread.fetch_add(1, Relaxed);
            return Some(Received::CatchUp(CatchUp::Trimmed));
        }
        if self.pass.is_none() && Instant::now() >= self.next_pass {
            self.pass = Some((EntryId::ZERO, options.claim_after, false));
            self.next_pass = Instant::now() + options.pass_interval();
        }
        let now = shared.elapsed();
        if let Some((after, min_idle, own_only)) = self.pass.take() {
            let claim = Claim { consumer, after, min_idle, own_only, max: options.batch_max.max(1) };
            let handed = state.claim(group, &claim, now);
            if let Some((last, _, _)) = handed.last() {
                self.pass = Some((*last, min_idle, own_only));
                drop(state);
                return Some(self.hand_out(handed));
            }
        }
        let handed = state.read_new(group, consumer, options.batch_max.max(1), now);
        drop(state);
        (!handed.is_empty()).then(|| self.hand_out(handed))
    }

    fn hand_out(&self, handed: Vec<Handed>) -> Received {
        let received = Instant::now();
        let deliveries_max = self.subscription.options.deliveries_max;
        let batch: Vec<_> = handed
            .into_iter()
            .map(|(id, deliveries, message)| Delivery {
                receipt: Receipt { id, received },
                deliveries,
                exhausted: deliveries > deliveries_max,
                message,
            })
            .collect();
        self.metrics().handed_out(&batch);
        Received::Batch(batch)
    }

    fn metrics(&self) -> &crate::FamilyMetrics {
        self.member.shared.metrics.family(self.member.stream.family())
    }
}

#[async_trait]
impl Consumer for InProcessConsumer {
    async fn next(&mut self) -> Result<Received, BusError> {
        let member = self.member.clone();
        loop {
            // Registered before the look at the state: what is published in between wakes us.
            let filled = member.channel.filled.notified();
            if let Some(received) = self.poll() {
                return Ok(received);
            }
            // The next claim pass is due by then: the timeout is not an error.
            let _ = tokio::time::timeout_at(self.next_pass, filled).await;
        }
    }

    fn acks(&self) -> Arc<dyn Acks> {
        self.member.clone()
    }
}

impl Drop for InProcessConsumer {
    fn drop(&mut self) {
        if self.joined {
            let Member { channel, group, consumer, .. } = &*self.member;
            channel.lock().leave(group, consumer);
            // Publishers need not wait for this consumer any more.
            channel.drained.notify_waiters();
        }
    }
}

#[async_trait]
impl Acks for Member {
    async fn ack(&self, receipts: &[Receipt]) -> Result<(), BusError> {
        let room = self.channel.lock().ack(&self.group, receipts.iter().map(|r| r.id));
        if room {
            self.channel.drained.notify_waiters();
        }
        let metrics = self.shared.metrics.family(self.stream.family());
        receipts.iter().for_each(|receipt| metrics.handled(receipt.received.elapsed()));
        Ok(())
    }

    async fn release(&self, receipts: &[Receipt]) -> Result<(), BusError> {
        self.channel.lock().touch(&self.group, &self.consumer, receipts.iter().map(|r| r.id), None);
        Ok(())
    }

    async fn extend(&self, receipts: &[Receipt]) -> Result<(), BusError> {
        let now = self.shared.elapsed();
        self.channel.lock().touch(&self.group, &self.consumer, receipts.iter().map(|r| r.id), Some(now));
        Ok(())
    }
}
