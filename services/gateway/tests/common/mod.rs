//! A gateway in front of scripted services, and a client that holds every answer against the OpenAPI document.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)] // a test may panic and print
#![allow(dead_code)] // each test file uses its part

pub(crate) mod control;
pub(crate) mod events;
pub(crate) mod executor;
pub(crate) mod hooks;
pub(crate) mod memory;
pub(crate) mod services;

use std::{collections::BTreeSet, net::SocketAddr, sync::Mutex, time::Duration};

use reqwest::{Method, Response, StatusCode, header::CONTENT_TYPE};
use runtime::{Config, Options, Role, Running, Settings, config::PeerAddress};
use serde_json::{Value, json};

use self::{
    executor::FakeExecutor,
    services::{FakePlanner, FakeRegistry},
};

/// A running gateway.
pub(crate) struct Gateway {
    pub(crate) running: Running,
    pub(crate) registry: FakeRegistry,
    pub(crate) planner: FakePlanner,
    /// In the gateway's process, unless the test runs its own elsewhere.
    pub(crate) executor: FakeExecutor,
    pub(crate) client: reqwest::Client,
    document: Value,
    covered: Mutex<BTreeSet<String>>,
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Got {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }
}

impl Gateway {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// `change` adapts the settings; executors named there are elsewhere.
    pub(crate) async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::default().on_free_ports();
        change(&mut settings);
        let (registry, planner) = (FakeRegistry::default(), FakePlanner::default());
        let executor = FakeExecutor::default();
        let mut roles: Vec<Role> = vec![registry.role(), planner.role()];
        if !matches!(settings.peers.executor, PeerAddress::At(_)) {
            roles.push(executor.role());
        }
        roles.push(gateway::role());
        let config = Config::from_settings(settings);
        let running = runtime::start(&roles, &config, Options::default()).await.unwrap();
        tokio::time::timeout(Duration::from_secs(10), running.ready()).await.expect("ready in time");
        let document = serde_json::from_str(&gateway::openapi_json()).unwrap();
        let client = reqwest::Client::new();
        Self { running, registry, planner, executor, client, document, covered: Mutex::default() }
    }

    pub(crate) fn http(&self) -> SocketAddr {
        self.running.ports("gateway").http.unwrap()
    }
    pub(crate) fn grpc(&self) -> String {
        format!("http://{}", self.running.ports("gateway").grpc.unwrap())
    }
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http())
    }

    pub(crate) async fn get(&self, path: &str) -> Got {
        self.send(Method::GET, path, &[], None).await
    }
    /// A GET that waits for nothing: the answer streams.
    pub(crate) async fn open(&self, path: &str, headers: &[(&str, &str)]) -> Response {
        let mut request = self.client.get(self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    }
    pub(crate) async fn post(&self, path: &str, body: Value) -> Got {
        self.send(Method::POST, path, &[("content-type", "application/json")], Some(body.to_string())).await
    }
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<String>,
    ) -> Got {
        let mut request = self.client.request(method.clone(), self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.unwrap();
        let got = Got { status: status.as_u16(), headers, text };
        self.check(&method, path, status, &got);
        got
    }

    /// Holds an answer against the document: its status, media type and schema.
    fn check(&self, method: &Method, path: &str, status: StatusCode, got: &Got) {
        assert!(!got.header("x-request-id").is_empty(), "{method} {path} has no request id");
        let media = got.header(CONTENT_TYPE.as_str()).split(';').next().unwrap_or_default().to_owned();
        if status.is_client_error() || status.is_server_error() {
            // The readiness answer is a document of its own.
            if media != "application/json" {
                assert_eq!(media, "application/problem+json", "{method} {path}: {}", got.text);
                self.valid("ProblemDetails", &got.json(), path);
            }
        }
        let Some((template, operation)) = self.operation(method, path) else { return };
        self.covered.lock().unwrap().insert(format!("{method} {template}"));
        let responses = &operation["responses"];
        let declared = responses.get(status.as_str());
        if status.is_success() {
            assert!(declared.is_some(), "{method} {template} answers {status}, which its document lacks");
        }
        let declared = declared.unwrap_or(&responses["default"]);
        let Some(content) = declared.get("content") else { return };
        let declared =
            content.get(&media).unwrap_or_else(|| panic!("{method} {template}: {media} is not declared"));
        if media.ends_with("json") {
            self.valid_schema(&declared["schema"], &got.json(), &format!("{method} {template} {status}"));
        }
    }

    fn operation(&self, method: &Method, path: &str) -> Option<(String, Value)> {
        let path = path.split('?').next().unwrap_or_default().replace("/api/v1/orchestra/", "/api/v1/");
        let given: Vec<&str> = path.split('/').collect();
        let fits = |template: &str| {
            let parts: Vec<&str> = template.split('/').collect();
            parts.len() == given.len() && parts.iter().zip(&given).all(|(p, g)| p.starts_with('{') || p == g)
        };
        let paths = self.document["paths"].as_object().unwrap();
        // A literal path goes before a parameter, as in the router.
        let mut fitting: Vec<&String> = paths.keys().filter(|template| fits(template)).collect();
        fitting.sort_by_key(|template| template.matches('{').count());
        let verb = method.as_str().to_ascii_lowercase();
        fitting.into_iter().find_map(|template| {
            paths[template].get(&verb).map(|operation| (template.clone(), operation.clone()))
        })
    }

    pub(crate) fn valid(&self, name: &str, value: &Value, what: &str) {
        self.valid_schema(&json!({ "$ref": format!("#/components/schemas/{name}") }), value, what);
    }

    fn valid_schema(&self, schema: &Value, value: &Value, what: &str) {
        let root = json!({ "allOf": [schema], "components": self.document["components"] });
        let validator = jsonschema::validator_for(&root).unwrap();
        let wrong: Vec<String> =
            validator.iter_errors(value).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert!(wrong.is_empty(), "{what} breaks its schema: {wrong:?}\n{value:#}");
    }

    /// Operations of the document that no request of this test reached, live ones aside.
    pub(crate) fn uncovered(&self) -> Vec<String> {
        let covered = self.covered.lock().unwrap();
        let mut open = vec![];
        for (path, item) in self.document["paths"].as_object().unwrap() {
            for (verb, operation) in item.as_object().unwrap() {
                let key = format!("{} {path}", verb.to_ascii_uppercase());
                if operation["tags"][0] != "live" && !covered.contains(&key) {
                    open.push(key);
                }
            }
        }
        open
    }
}

/// Waits until `done`, at most ten seconds.
pub(crate) async fn eventually(what: &str, done: impl Fn() -> bool) {
    let until = tokio::time::Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(tokio::time::Instant::now() < until, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
