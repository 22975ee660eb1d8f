//! REST as a script would use it.

use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, header::HeaderMap};
use serde_json::{Value, json};
use testkit::wait_for;

/// How long a test waits for what must happen.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// An answer, read whole.
#[derive(Debug)]
pub struct Got {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body; null when it is empty or no JSON.
    pub body: Value,
}

impl Got {
    /// The body, when the status is this one.
    ///
    /// # Panics
    /// When it is another: the answer is shown.
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        self.body
    }

    /// Checks that it is a problem with this status and code, and gives it back.
    ///
    /// # Panics
    /// When it is not.
    pub fn problem(self, status: u16, code: &str) -> Value {
        let kind = self.headers.get("content-type").map(|v| v.to_str().unwrap_or_default().to_owned());
        let body = self.expect(status);
        assert_eq!(kind.as_deref(), Some("application/problem+json"), "{body}");
        assert_eq!(body["code"], code, "{body}");
        assert_eq!(body["status"], status, "{body}");
        body
    }
}

/// A client of one gateway.
#[derive(Clone)]
pub struct Api {
    base: String,
    grpc: String,
    client: Client,
}

impl Api {
    pub(crate) fn new(base: String, grpc: String) -> Self {
        let client = Client::builder().timeout(PATIENCE).build().expect("a client can be made");
        Self { base, grpc, client }
    }

    /// `http://127.0.0.1:PORT` of the public gRPC door.
    pub fn grpc(&self) -> &str {
        &self.grpc
    }

    /// `http://127.0.0.1:PORT`.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// A request to `/api/v1` + `path`.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}/api/v1{path}", self.base))
    }

    /// Sends a request; `None` when no whole answer came.
    pub async fn try_send(&self, request: RequestBuilder) -> Option<Got> {
        let answer = request.send().await.ok()?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().await.ok()?;
        Some(Got { status, headers, body: serde_json::from_str(&text).unwrap_or_default() })
    }

    /// Sends a request.
    ///
    /// # Panics
    /// When no whole answer comes.
    pub async fn send(&self, request: RequestBuilder) -> Got {
        self.try_send(request).await.expect("the gateway answers")
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Got {
        self.send(self.request(Method::GET, path)).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Got {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// POST of JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Got {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// Stores a definition written in YAML; its id.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn define(&self, yaml: &str) -> String {
        let request = self.request(Method::POST, "/workflows").header("content-type", "application/yaml");
        let stored = self.send(request.body(yaml.to_owned())).await.expect(201);
        stored["workflow_id"].as_str().expect("a workflow has an id").to_owned()
    }

    /// Starts a workflow by its name; the execution's id. A fleet that has not come round to every executor yet is
    /// waited for.
    ///
    /// # Panics
    /// When the start is refused for another reason.
    pub async fn start(&self, workflow: &str, input: &Value) -> String {
        let started = wait_for("the fleet to be known", PATIENCE, async || {
            let got = self.post(&format!("/workflows/{workflow}/execute"), &json!({"input": input})).await;
            (got.status != 507).then_some(got)
        });
        id_of(&started.await.expect(202))
    }

    /// Starts a workflow and waits for its end.
    pub async fn run(&self, workflow: &str, input: &Value) -> Value {
        let id = self.start(workflow, input).await;
        self.ended(&id).await
    }

    /// An execution.
    pub async fn execution(&self, id: &str) -> Value {
        self.get(&format!("/executions/{id}")).await.expect(200)
    }

    /// An execution once it has ended.
    ///
    /// # Panics
    /// When it does not.
    pub async fn ended(&self, id: &str) -> Value {
        self.until(id, "its end", |e| {
            let status = e["status"].as_str().unwrap_or_default();
            ["completed", "failed", "cancelled", "terminated", "compensated"].contains(&status)
        })
        .await
    }

    /// An execution once `seen` is true of it.
    ///
    /// # Panics
    /// When that does not come: the execution is shown.
    pub async fn until(&self, id: &str, what: &str, seen: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let give_up = tokio::time::Instant::now() + PATIENCE;
        loop {
            let asked = self.try_send(self.request(Method::GET, &format!("/executions/{id}"))).await;
            if let Some(got) = asked.filter(|got| got.status == 200) {
                if seen(&got.body) {
                    return got.body;
                }
                last = got.body;
            }
            assert!(tokio::time::Instant::now() < give_up, "waited for {what} of {id}, in vain: {last:#}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// An execution once one of its tasks is in this state.
    pub async fn until_task(&self, id: &str, task: &str, state: &str) -> Value {
        let what = format!("task {task} to be {state}");
        self.until(id, &what, |e| task_of(e, task)["state"] == state).await
    }

    /// The whole history of an execution.
    pub async fn history(&self, id: &str) -> Vec<Value> {
        let page = self.get(&format!("/executions/{id}/history?limit=1000")).await.expect(200);
        page["events"].as_array().expect("a history has events").clone()
    }
}

/// The execution that an answer names.
pub(crate) fn id_of(answer: &Value) -> String {
    answer["execution_id"].as_str().unwrap_or_else(|| panic!("no execution in {answer}")).to_owned()
}

/// A task of an execution; null when there is none.
pub(crate) fn task_of(execution: &Value, task: &str) -> Value {
    let tasks = execution["tasks"].as_array().cloned().unwrap_or_default();
    tasks.into_iter().find(|t| t["task_id"] == task).unwrap_or_default()
}

impl Api {
    /// A task of an execution.
    ///
    /// # Panics
    /// When there is none.
    pub fn task(execution: &Value, task: &str) -> Value {
        let found = task_of(execution, task);
        assert!(found.is_object(), "no task {task} in {execution:#}");
        found
    }
}
