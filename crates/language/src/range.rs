//! Versions and ranges of them: `1.2.0`, `^1.2`, `~1.2.3`, `>=2, <3`, `1.x`, `*`.

use std::cmp::Ordering;

/// A range of versions. Versions are compared number by number, text by text; a version with a `-` part (`2.0.0-rc.1`)
/// stands before the one without it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionRange {
    /// All have to hold; empty = every version.
    bounds: Vec<(Bound, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    Exactly,
    AtLeast,
    Above,
    AtMost,
    Below,
    /// `^`: the first number that is not zero stays.
    Compatible,
    /// `~`: the first two numbers stay.
    Patch,
    /// `1.x`: what stands before stays.
    Prefix,
}

impl VersionRange {
    /// Reads a range; nothing and `*` are every version.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut bounds = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !matches!(*part, "" | "*" | "latest")) {
            let (bound, rest) = [
                (">=", Bound::AtLeast),
                ("<=", Bound::AtMost),
                (">", Bound::Above),
                ("<", Bound::Below),
                ("^", Bound::Compatible),
                ("~", Bound::Patch),
                ("=", Bound::Exactly),
            ]
            .into_iter()
            .find_map(|(sign, bound)| Some((bound, part.strip_prefix(sign)?)))
            .unwrap_or((Bound::Exactly, part));
            let version = rest.trim();
            let (bound, version) = match version.strip_suffix(".x").or_else(|| version.strip_suffix(".*")) {
                Some(prefix) if bound == Bound::Exactly => (Bound::Prefix, prefix),
                _ => (bound, version),
            };
            if base::ids::check_key("version", version).is_err() {
                return Err(format!("{part:?} is no version and no range of versions"));
            }
            bounds.push((bound, version.to_owned()));
        }
        Ok(Self { bounds })
    }

    /// Whether `version` lies in it.
    pub fn holds(&self, version: &str) -> bool {
        self.bounds.iter().all(|(bound, than)| {
            let order = compare(version, than);
            match bound {
                Bound::Exactly => order == Ordering::Equal,
                Bound::AtLeast => order != Ordering::Less,
                Bound::Above => order == Ordering::Greater,
                Bound::AtMost => order != Ordering::Greater,
                Bound::Below => order == Ordering::Less,
                Bound::Compatible => {
                    let numbers: Vec<&str> = than.split(['.', '-']).collect();
                    let kept = numbers.iter().position(|n| *n != "0").unwrap_or(numbers.len() - 1) + 1;
                    order != Ordering::Less && starts_alike(version, than, kept)
                }
                Bound::Patch => order != Ordering::Less && starts_alike(version, than, 2),
                Bound::Prefix => starts_alike(version, than, usize::MAX),
            }
        })
    }

    /// The newest of `versions` in it.
    pub fn newest<'a>(&self, versions: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
        versions.into_iter().filter(|version| self.holds(version)).max_by(|a, b| compare(a, b))
    }
}

/// The first `kept` parts of `than`, as far as it has them, are those of `version`.
fn starts_alike(version: &str, than: &str, kept: usize) -> bool {
    let mut parts = version.split('.');
    than.split('.').take(kept).all(|part| parts.next() == Some(part))
}

/// Number by number; parts that are missing count as zero; with a `-` part comes before without.
fn compare(a: &str, b: &str) -> Ordering {
    let split = |version: &str| match version.split_once('-') {
        Some((main, pre)) => (main.to_owned(), Some(pre.to_owned())),
        None => (version.to_owned(), None),
    };
    let ((a, a_pre), (b, b_pre)) = (split(a), split(b));
    parts(&a, &b).then_with(|| match (a_pre, b_pre) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(a), Some(b)) => parts(&a, &b),
    })
}

fn parts(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.split('.'), b.split('.'));
    loop {
        let (x, y) = match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (x, y) => (x.unwrap_or("0"), y.unwrap_or("0")),
        };
        let order = match (x.parse::<u64>(), y.parse::<u64>()) {
            (Ok(x), Ok(y)) => x.cmp(&y),
            _ => x.cmp(y),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_holds_the_versions_it_says() {
        for (range, inside, outside) in [
            ("", vec!["1", "c0ffee"], vec![]),
            ("*", vec!["0.1"], vec![]),
            ("1.2.0", vec!["1.2.0", "1.2"], vec!["1.2.1"]),
            ("^1.2", vec!["1.2.0", "1.9"], vec!["2.0", "1.1.9"]),
            ("^0.3", vec!["0.3.7"], vec!["0.4.0", "1.0"]),
            ("~1.2.3", vec!["1.2.3", "1.2.9"], vec!["1.3.0", "1.2.2"]),
            (">=2, <3", vec!["2", "2.9.9"], vec!["3", "3.0.0", "1.9"]),
            (">1.0", vec!["1.0.1", "10.0"], vec!["1.0", "1.0.0"]),
            ("<=1.0", vec!["1.0.0", "0.9"], vec!["1.0.1"]),
            ("1.x", vec!["1.0", "1.22.3"], vec!["11.0", "2"]),
            ("<2.0.0", vec!["2.0.0-rc.1"], vec!["2.0.0"]),
        ] {
            let parsed = VersionRange::parse(range).unwrap();
            inside.iter().for_each(|version| assert!(parsed.holds(version), "{range} holds {version}"));
            outside
                .iter()
                .for_each(|version| assert!(!parsed.holds(version), "{range} does not hold {version}"));
        }
        let range = VersionRange::parse("^1").unwrap();
        assert_eq!(range.newest(["1.9", "1.10", "2.0", "1.10-rc"]), Some("1.10"));
        assert!(VersionRange::parse("^").is_err() && VersionRange::parse("one two").is_err());
    }
}
