//! Names and cursors of events as people write them.

use api::Fault;

/// Types of the sources with a colon, and what they are called here. Any other colon means a dot.
const ALIASES: [(&str, &str); 8] = [
    ("workflow:started", "workflow.execution_started"),
    ("workflow:completed", "workflow.completed"),
    ("workflow:failed", "workflow.failed"),
    ("task:assigned", "agent.task_assigned"),
    ("task:started", "task.started"),
    ("task:completed", "task.completed"),
    ("task:failed", "error.occurred"),
    ("agent:registered", "agent.registered"),
];
/// Most types of one filter.
pub(super) const TYPES_MAX: usize = 8;

/// The types that `given` means: itself, and what it is an alias of.
pub(super) fn types(given: &[String]) -> Result<Vec<String>, Fault> {
    if given.len() > TYPES_MAX {
        return Err(Fault::bad("filter.types", format!("names {} types, at most {TYPES_MAX}", given.len())));
    }
    let mut all = Vec::new();
    for name in given {
        all.push(name.clone());
        if name.contains(':') {
            let known = ALIASES.iter().find(|(alias, _)| alias == name).map(|(_, known)| (*known).to_owned());
            all.push(known.unwrap_or_else(|| name.replace(':', ".")));
        }
    }
    Ok(all)
}

/// Where to resume after a position.
pub(super) fn cursor(pos: i64) -> String {
    pos.to_string()
}

/// Reads a cursor.
pub(super) fn position(field: &str, cursor: &str) -> Result<i64, Fault> {
    let pos = cursor.parse().ok().filter(|pos| *pos >= 0);
    pos.ok_or_else(|| Fault::bad(field, "is not a cursor of an event; 0 is the beginning of what is kept"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_colon_means_the_dotted_one_as_well() {
        let of = |name: &str| types(&[name.to_owned()]).unwrap();
        assert_eq!(of("workflow:started"), ["workflow:started", "workflow.execution_started"]);
        assert_eq!(of("order:placed"), ["order:placed", "order.placed"]);
        assert_eq!(of("order.placed"), ["order.placed"]);
        assert!(types(&vec![String::new(); 9]).is_err());
    }
}
