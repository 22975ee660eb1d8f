//! The values an expression is evaluated against. Only what it names is looked at.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

/// A value of the scope, or a place where members are found when they are asked for.
#[derive(Clone)]
pub enum Node {
    /// A value.
    Value(Arc<Value>),
    /// Members by name.
    Map(BTreeMap<String, Node>),
    /// Members that are looked up when an expression names them.
    Lazy(Arc<dyn Lookup>),
}

/// Finds members when an expression names them, such as the output of a task among thousands.
pub trait Lookup: Send + Sync {
    /// The member called `name`.
    fn get(&self, name: &str) -> Option<Node>;
    /// All names, for expressions that read the whole.
    fn names(&self) -> Vec<String>;
}

impl From<Value> for Node {
    fn from(value: Value) -> Self {
        Self::Value(Arc::new(value))
    }
}
impl From<Arc<Value>> for Node {
    fn from(value: Arc<Value>) -> Self {
        Self::Value(value)
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Value(value) => value.fmt(f),
            Self::Map(members) => members.fmt(f),
            Self::Lazy(_) => f.write_str("…"),
        }
    }
}

impl Node {
    /// The whole as one JSON value.
    pub fn to_json(&self) -> Arc<Value> {
        match self {
            Self::Value(value) => value.clone(),
            Self::Map(members) => {
                Arc::new(members.iter().map(|(k, v)| (k.clone(), (*v.to_json()).clone())).collect())
            }
            Self::Lazy(lookup) => Arc::new(
                lookup
                    .names()
                    .into_iter()
                    .filter_map(|name| Some((name.clone(), (*lookup.get(&name)?.to_json()).clone())))
                    .collect(),
            ),
        }
    }
    pub(crate) fn member(&self, name: &str) -> Option<Self> {
        match self {
            Self::Value(_) => None,
            Self::Map(members) => members.get(name).cloned(),
            Self::Lazy(lookup) => lookup.get(name),
        }
    }
}

/// Variables by name.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    variables: BTreeMap<String, Node>,
}

impl Scope {
    /// No variables.
    pub fn new() -> Self {
        Self::default()
    }
    /// Adds or replaces a variable.
    pub fn set(&mut self, name: impl Into<String>, node: impl Into<Node>) -> &mut Self {
        self.variables.insert(name.into(), node.into());
        self
    }
    /// As [`Scope::set`], for building in one go.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, node: impl Into<Node>) -> Self {
        self.set(name, node);
        self
    }
    /// The variable called `name`.
    pub fn get(&self, name: &str) -> Option<&Node> {
        self.variables.get(name)
    }
}
