//! One workflow over many inputs.

use futures::{Stream, StreamExt as _, stream};
use serde_json::Value;

use super::{Client, Execution, Start};
use crate::Fault;

/// How one of many inputs ended.
#[derive(Debug)]
pub struct Ran {
    /// Its place among the inputs, from 0.
    pub index: usize,
    /// The ended execution, or why there is none.
    pub result: Result<Execution, Fault>,
}

impl Client {
    /// Runs `start` once for every input, at most `at_once` (at least 1) at the same time. Results come in the order in
    /// which executions end; one that fails does not stop the others. Inputs are taken as there is room, so they may
    /// be endless; dropping the stream starts no more and leaves what runs to the server.
    ///
    /// ```no_run
    /// # async fn example(client: api::client::Client) {
    /// use api::client::Start;
    /// use futures::StreamExt as _;
    /// use serde_json::json;
    ///
    /// let inputs = (0..1000).map(|n| json!({"n": n}));
    /// let mut ran = client.run_many(Start::workflow("square"), inputs, 64);
    /// while let Some(one) = ran.next().await {
    ///     println!("{}: {:?}", one.index, one.result.map(|execution| execution.status));
    /// }
    /// # }
    /// ```
    pub fn run_many<I>(
        &self,
        start: Start,
        inputs: I,
        at_once: usize,
    ) -> impl Stream<Item = Ran> + Send + Unpin + use<I>
    where
        I: IntoIterator<Item = Value>,
        I::IntoIter: Send + 'static,
    {
        let client = self.clone();
        stream::iter(inputs.into_iter().enumerate())
            .map(move |(index, input)| {
                let (client, start) = (client.clone(), start.again(&input));
                async move { Ran { index, result: client.run(&start).await } }
            })
            .buffer_unordered(at_once.max(1))
            .boxed()
    }
}
