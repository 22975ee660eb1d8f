//! Amounts in the JSON form of S0: CPU in cores, memory in megabytes, network in Mbit/s; texts with units are read too.

use base::units::{parse_cpu, parse_memory, parse_network};
use serde_json::{Number, Value};

const MB: f64 = 1_048_576.0;
/// Largest bare number that is read as an amount.
const NUMBER_MAX: f64 = 1e12;

fn scaled(
    value: &Value,
    unit: f64,
    text: impl Fn(&str) -> Result<u64, String>,
    rule: &str,
) -> Result<u64, String> {
    match value {
        Value::String(s) => text(s),
        Value::Number(n) => match n.as_f64() {
            Some(v) if (0.0..=NUMBER_MAX).contains(&v) => Ok((v * unit).round() as u64),
            _ => Err(format!("{n} is not {rule}")),
        },
        other => Err(format!("{} is not {rule}", crate::reader::kind(other))),
    }
}

/// Thousandths of a core from `2`, `0.5`, `"500m"`, `"2 cores"`.
pub fn cpu(value: &Value) -> Result<u64, String> {
    scaled(value, 1000.0, |s| parse_cpu(s).map_err(|e| e.to_string()), "a number of cores from 0 to 1e12")
}

/// Bytes from a number of megabytes or a text with unit.
pub fn memory(value: &Value) -> Result<u64, String> {
    scaled(value, MB, |s| parse_memory(s).map_err(|e| e.to_string()), "a number of megabytes from 0 to 1e12")
}

/// Mbit/s from a number or a text with unit.
pub fn network(value: &Value) -> Result<u64, String> {
    scaled(value, 1.0, |s| parse_network(s).map_err(|e| e.to_string()), "a number of Mbit/s from 0 to 1e12")
}

/// A JSON number without a fraction when it has none.
pub fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 9e15 {
        return Value::Number(Number::from(value as i64));
    }
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

/// Cores as S0 writes them.
pub fn show_cpu(cpu_millis: u64) -> Value {
    number(cpu_millis as f64 / 1000.0)
}

/// Memory as S0 writes it: megabytes, or a text in bytes when it is no exact number of them.
pub fn show_memory(bytes: u64) -> Value {
    if bytes.is_multiple_of(1024) { number(bytes as f64 / MB) } else { Value::String(format!("{bytes}b")) }
}
