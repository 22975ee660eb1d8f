//! The roles that this binary can run.

use runtime::{Role, SharedBus};

use crate::exit::Failure;

/// Every role, in the order in which they start.
pub(crate) fn all() -> Vec<Role> {
    // One process, one bus: what one role says the others hear.
    let bus = SharedBus::default();
    vec![registry::role_on(bus.clone()), planner::role(), executor::role_on(bus), gateway::role()]
}

/// The roles called `names`; `all` is every one.
pub(crate) fn named(names: &[String]) -> Result<Vec<Role>, Failure> {
    let known = all();
    let list = known.iter().map(|r| r.name).collect::<Vec<_>>().join(", ");
    let mut chosen: Vec<Role> = Vec::new();
    for name in names {
        let matching: Vec<&Role> = known.iter().filter(|r| name == "all" || r.name == name).collect();
        if matching.is_empty() {
            let said = format!("there is no role {name:?}");
            return Err(Failure::usage(said).remedy(format!("roles are {list}, or all")));
        }
        for role in matching {
            if chosen.iter().all(|r| r.name != role.name) {
                chosen.push(role.clone());
            }
        }
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(wanted: &[&str]) -> Vec<&'static str> {
        let wanted: Vec<String> = wanted.iter().map(|w| (*w).to_owned()).collect();
        named(&wanted).unwrap().iter().map(|r| r.name).collect()
    }

    #[test]
    fn roles_are_named_once_each() {
        assert_eq!(names(&["planner", "registry", "planner"]), ["planner", "registry"]);
        assert_eq!(names(&["gateway", "all"]), ["gateway", "registry", "planner", "executor"]);
        let refused = named(&["scheduler".to_owned()]).unwrap_err();
        assert!(refused.remedy.unwrap().starts_with("roles are registry, planner"));
    }
}
