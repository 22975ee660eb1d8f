//! JSON Schemas: compiled without the network, checked with instance paths.

use jsonschema::Validator;
use serde_json::Value;

/// Largest schema, in bytes of its JSON text.
pub const SCHEMA_BYTES_MAX: usize = 256 << 10;
/// Complaints that are listed about one value.
pub const COMPLAINTS_MAX: usize = 8;

/// Compiles a schema of any draft up to 2020-12. Formats are checked; nothing is ever fetched.
///
/// # Errors
/// Why it is not a schema, for people.
pub fn compile(schema: &Value) -> Result<Validator, String> {
    if !schema.is_object() && !schema.is_boolean() {
        return Err(format!("a JSON Schema is an object, not {}", crate::reader::kind(schema)));
    }
    let bytes = schema.to_string().len();
    if bytes > SCHEMA_BYTES_MAX {
        return Err(format!("the schema has {bytes} bytes; at most {SCHEMA_BYTES_MAX} are taken"));
    }
    jsonschema::options().offline().should_validate_formats(true).build(schema).map_err(|error| {
        let path = error.instance_path().to_string();
        if path.is_empty() { error.to_string() } else { format!("{path}: {error}") }
    })
}

/// Checks a value: `Err` lists at most [`COMPLAINTS_MAX`] complaints, each as `/path: what is wrong`.
///
/// # Errors
/// The complaints, joined with `; `.
pub fn check(validator: &Validator, value: &Value) -> Result<(), String> {
    let mut complaints: Vec<String> = validator
        .iter_errors(value)
        .take(COMPLAINTS_MAX + 1)
        .map(|error| {
            let path = error.instance_path().to_string();
            let text: String = error.to_string().chars().take(300).collect();
            if path.is_empty() { text } else { format!("{path}: {text}") }
        })
        .collect();
    if complaints.is_empty() {
        return Ok(());
    }
    if complaints.len() > COMPLAINTS_MAX {
        complaints.truncate(COMPLAINTS_MAX);
        complaints.push("and more".into());
    }
    Err(complaints.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn schemas_compile_without_the_network_and_complaints_name_the_place() {
        let validator =
            compile(&json!({"type": "object", "properties": {"n": {"type": "integer"}}})).unwrap();
        assert_eq!(check(&validator, &json!({"n": 1})), Ok(()));
        assert!(check(&validator, &json!({"n": "x"})).unwrap_err().starts_with("/n: "));
        for (name, schema) in [
            ("a type that does not exist", json!({"type": "objekt"})),
            ("a text", json!("string")),
            ("a remote reference", json!({"$ref": "http://127.0.0.1:1/x.json"})),
            ("a file reference", json!({"$ref": "file:///etc/passwd"})),
            ("too large", json!({"description": "x".repeat(SCHEMA_BYTES_MAX)})),
        ] {
            assert!(compile(&schema).is_err(), "{name}");
        }
        assert!(compile(&json!(true)).is_ok());
    }

    #[test]
    fn complaints_are_bounded() {
        let validator = compile(&json!({"items": {"type": "integer"}})).unwrap();
        let text = check(&validator, &json!(vec!["x"; 100])).unwrap_err();
        assert!(text.ends_with("and more"), "{text}");
    }
}
