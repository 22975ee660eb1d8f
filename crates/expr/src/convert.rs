//! JSON to CEL and back. Texts are borrowed on the way in.

use std::{collections::HashMap, sync::Arc};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use cel::common::{
    types::{
        CelBool, CelBytes, CelDouble, CelDuration, CelInt, CelList, CelMap, CelMapKey, CelNull, CelOptional,
        CelString, CelTimestamp, CelUInt,
    },
    value::Val,
};
use serde_json::{Number, Value};

use crate::{ExprError, ExprErrorKind, Node, paths::Tree};

/// What an expression reads of a variable, held while it is evaluated.
pub(crate) enum Held {
    Value(Arc<Value>),
    Map(Vec<(String, Held)>),
}

/// Collects of `node` what `tree` names. A member that is not there is left out: the evaluation says so.
pub(crate) fn hold(node: &Node, tree: &Tree) -> Held {
    if tree.whole {
        return Held::Value(node.to_json());
    }
    match node {
        Node::Value(value) => Held::Value(value.clone()),
        _ => Held::Map(
            tree.members
                .iter()
                .filter_map(|(name, below)| Some((name.clone(), hold(&node.member(name)?, below))))
                .collect(),
        ),
    }
}

/// The CEL value of what is held, cut down to what `tree` names.
pub(crate) fn held_to_cel<'v>(held: &'v Held, tree: &Tree) -> Box<dyn Val + 'v> {
    match held {
        Held::Value(value) => trimmed_to_cel(value, tree),
        Held::Map(members) => Box::new(CelMap::from(
            members
                .iter()
                .filter_map(|(name, held)| Some((key(name), held_to_cel(held, tree.members.get(name)?))))
                .collect::<HashMap<_, _>>(),
        )),
    }
}

fn trimmed_to_cel<'v>(value: &'v Value, tree: &Tree) -> Box<dyn Val + 'v> {
    match value {
        Value::Object(object) if !tree.whole => Box::new(CelMap::from(
            tree.members
                .iter()
                .filter_map(|(name, below)| {
                    let (name, value) = object.get_key_value(name)?;
                    Some((key(name), trimmed_to_cel(value, below)))
                })
                .collect::<HashMap<_, _>>(),
        )),
        _ => to_cel(value),
    }
}

fn key(name: &str) -> CelMapKey<'_> {
    CelMapKey::String(CelString::from(name))
}

fn to_cel<'v>(value: &'v Value) -> Box<dyn Val + 'v> {
    match value {
        Value::Null => Box::new(CelNull),
        Value::Bool(b) => Box::new(CelBool::from(*b)),
        Value::Number(n) => match (n.as_i64(), n.as_u64()) {
            (Some(i), _) => Box::new(CelInt::from(i)),
            (None, Some(u)) => Box::new(CelUInt::from(u)),
            (None, None) => Box::new(CelDouble::from(n.as_f64().unwrap_or(f64::NAN))),
        },
        Value::String(s) => Box::new(CelString::from(s.as_str())),
        Value::Array(items) => Box::new(CelList::from(items.iter().map(to_cel).collect::<Vec<_>>())),
        Value::Object(members) => Box::new(CelMap::from(
            members.iter().map(|(k, v)| (key(k), to_cel(v))).collect::<HashMap<_, _>>(),
        )),
    }
}

/// The JSON form of a result.
pub(crate) fn to_json(value: &dyn Val) -> Result<Value, ExprError> {
    if let Some(text) = value.downcast_ref::<CelString>() {
        return Ok(text.inner().into());
    }
    if let Some(list) = value.downcast_ref::<CelList>() {
        return list.inner().iter().map(|item| to_json(item.as_ref())).collect();
    }
    if let Some(map) = value.downcast_ref::<CelMap>() {
        return map
            .inner()
            .iter()
            .map(|(key, item)| Ok((key_text(key), to_json(item.as_ref())?)))
            .collect::<Result<serde_json::Map<_, _>, _>>()
            .map(Value::Object);
    }
    if let Some(b) = value.downcast_ref::<CelBool>() {
        return Ok((*b.inner()).into());
    }
    if let Some(i) = value.downcast_ref::<CelInt>() {
        return Ok((*i.inner()).into());
    }
    if let Some(u) = value.downcast_ref::<CelUInt>() {
        return Ok((*u.inner()).into());
    }
    if let Some(f) = value.downcast_ref::<CelDouble>() {
        return Number::from_f64(*f.inner())
            .map(Value::Number)
            .ok_or_else(|| no_json("a number that is not finite"));
    }
    if value.downcast_ref::<CelNull>().is_some() {
        return Ok(Value::Null);
    }
    if let Some(optional) = value.downcast_ref::<CelOptional>() {
        return optional.inner().map_or(Ok(Value::Null), to_json);
    }
    other_to_json(value)
}

fn other_to_json(value: &dyn Val) -> Result<Value, ExprError> {
    if let Some(bytes) = value.downcast_ref::<CelBytes>() {
        return Ok(BASE64_STANDARD.encode(bytes.inner()).into());
    }
    if let Some(at) = value.downcast_ref::<CelTimestamp>() {
        return Ok(at.inner().to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true).into());
    }
    if let Some(d) = value.downcast_ref::<CelDuration>() {
        let d = d.inner();
        let seconds = d.num_seconds() as f64 + f64::from(d.subsec_nanos()) / 1e9;
        return Ok(format!("{seconds}s").into());
    }
    Err(no_json(value.get_type().name()))
}

fn no_json(what: &str) -> ExprError {
    ExprError::new(ExprErrorKind::Evaluation, format!("the result is {what}, which JSON cannot hold"))
}

fn key_text(key: &CelMapKey<'_>) -> String {
    match key {
        CelMapKey::Bool(b) => b.inner().to_string(),
        CelMapKey::Int(i) => i.inner().to_string(),
        CelMapKey::UInt(u) => u.inner().to_string(),
        CelMapKey::String(s) => s.inner().to_owned(),
    }
}
