//! Files that are named on the command line.

use std::{fs, io::Read as _, path::Path};

use base::ErrorCode;

use crate::exit::{Exit, Failure};

/// Largest file that is read, in bytes.
const BYTES_MAX: u64 = 256 << 20;

/// Reads a text file; `-` is standard input.
pub(crate) fn read(name: &str) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let read = if name == "-" {
        std::io::stdin().lock().take(BYTES_MAX + 1).read_to_end(&mut bytes)
    } else {
        fs::File::open(name).and_then(|file| {
            if file.metadata()?.is_dir() {
                return Err(std::io::Error::other("is a folder; name the files in it"));
            }
            file.take(BYTES_MAX + 1).read_to_end(&mut bytes)
        })
    };
    if let Err(cause) = read {
        let (exit, code) = match cause.kind() {
            std::io::ErrorKind::NotFound => (Exit::NotFound, ErrorCode::NotFound),
            _ => (Exit::Usage, ErrorCode::InvalidArgument),
        };
        return Err(Failure::new(exit, code, format!("cannot read {name}: {cause}")));
    }
    if bytes.len() as u64 > BYTES_MAX {
        return Err(Failure::usage(format!("{name} has more than {} MB", BYTES_MAX >> 20)));
    }
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        let line = e.as_bytes()[..at].iter().filter(|b| **b == b'\n').count() + 1;
        Failure::usage(format!("{name}:{line}: is not UTF-8 text (byte {at})"))
    })
}

/// Whether `name` means a file rather than a stored workflow: it exists, or looks like one.
pub(crate) fn is_file(name: &str) -> bool {
    let path = Path::new(name);
    let named = path.extension().is_some_and(|e| ["yaml", "yml", "json"].iter().any(|known| e == *known));
    name == "-" || named || name.contains('/') || path.is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_file_or_a_stored_workflow() {
        for (name, want) in [
            ("research.yaml", true),
            ("./research", true),
            ("-", true),
            ("research", false),
            ("research@1.0", false),
            ("0190b7a4-7c5e-7d5e-8f00-0000000000ff", false),
        ] {
            assert_eq!(is_file(name), want, "{name}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_says_why() {
        let missing = read("/no/such/file.yaml").unwrap_err();
        assert_eq!(missing.exit, Exit::NotFound);
        assert!(missing.message.starts_with("cannot read /no/such/file.yaml: "), "{}", missing.message);
        let dir = tempfile::tempdir().unwrap();
        assert!(read(dir.path().to_str().unwrap()).unwrap_err().message.contains("is a folder"));
        let odd = dir.path().join("odd");
        fs::write(&odd, b"a\nb\xff").unwrap();
        assert!(read(odd.to_str().unwrap()).unwrap_err().message.contains("odd:2: is not UTF-8"));
    }
}
