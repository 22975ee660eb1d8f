//! What a call has cost, as the agent says.

use serde_json::{Value, json};

use crate::{Json, keys};

/// What a call has cost.
///
/// It travels as the member [`keys::USAGE`] of the metadata of the task, or of a direct message:
/// `{"tokens": 1200, "money_micros": 350}`. An agent that counts them apart gives `input_tokens` and `output_tokens` instead
/// of `tokens`. Whole numbers from 0; what is missing or of another shape counts as 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens that were read and written.
    pub tokens: u64,
    /// Money in millionths of the currency.
    pub money_micros: u64,
}

impl Usage {
    /// From metadata; `None` when the agent says nothing.
    pub fn of(metadata: Option<&Json>) -> Option<Self> {
        let metadata = metadata?;
        // Most metadata says nothing of it: it is not parsed then.
        let key = keys::USAGE.as_bytes();
        if !metadata.bytes().windows(key.len()).any(|text| text == key) {
            return None;
        }
        let said = metadata.member(keys::USAGE)?;
        let number = |key: &str| said.get(key).and_then(Value::as_u64);
        let apart =
            || number("input_tokens").unwrap_or(0).saturating_add(number("output_tokens").unwrap_or(0));
        Some(Self {
            tokens: number("tokens").unwrap_or_else(apart),
            money_micros: number("money_micros").unwrap_or(0),
        })
    }

    /// As metadata.
    pub fn to_metadata(self) -> Json {
        Json::object_of(keys::USAGE, &json!({"tokens": self.tokens, "money_micros": self.money_micros}))
    }

    /// The sum, saturating.
    #[must_use]
    pub fn plus(self, o: Self) -> Self {
        Self {
            tokens: self.tokens.saturating_add(o.tokens),
            money_micros: self.money_micros.saturating_add(o.money_micros),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_reads_back_as_written_and_what_is_not_said_is_nothing() {
        let usage = Usage { tokens: 7, money_micros: 3 };
        assert_eq!(Usage::of(Some(&usage.to_metadata())), Some(usage));
        for (metadata, want) in [
            (json!({}), None),
            (json!({"orchestra.progress": 0.5}), None),
            (
                json!({"orchestra.usage": {"input_tokens": 2, "output_tokens": 3}}),
                Some(Usage { tokens: 5, money_micros: 0 }),
            ),
            (json!({"orchestra.usage": {"tokens": -1, "money_micros": "many"}}), Some(Usage::default())),
            (json!({"orchestra.usage": 9}), Some(Usage::default())),
        ] {
            assert_eq!(Usage::of(Some(&Json::from_value(&metadata))), want, "{metadata}");
        }
        assert_eq!(Usage::of(None), None);
    }
}
