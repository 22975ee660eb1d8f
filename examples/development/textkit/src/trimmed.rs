//! R0: what was there before.

/// The function `trimmed` must clean a text: trim.
pub fn trimmed(text: &str) -> String {
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn r0_1() {
        assert_eq!(super::trimmed("  a "), "a");
    }
}
