//! The signature of a webhook.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// Header with the time of the request, seconds since 1970.
pub const TIMESTAMP_HEADER: &str = "x-orchestra-timestamp";
/// Header with the signature.
pub const SIGNATURE_HEADER: &str = "x-orchestra-signature";
/// Header with the id of the run: the same when a request is repeated.
pub const RUN_HEADER: &str = "x-orchestra-run-id";

/// `v1=` and the HMAC-SHA256 of `<timestamp>.<body>` in hexadecimal. A receiver makes it too, compares in constant time,
/// and refuses what is older than a few minutes.
pub fn signature(secret: &[u8], timestamp: i64, body: &[u8]) -> String {
    // HMAC takes a key of any length: there is nothing to fail.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { return String::new() };
    mac.update(timestamp.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("v1={hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_the_hmac_that_everybody_computes() {
        // printf '1700000000.{}' | openssl dgst -sha256 -hmac key
        let want = "v1=9d713ed406bb7076d4123f0dc2c39d2df5c654ed4b0cd56b52c8b4c940bd63ae";
        assert_eq!(signature(b"key", 1_700_000_000, b"{}"), want);
        assert_ne!(signature(b"key", 1_700_000_001, b"{}"), want);
        assert_ne!(signature(b"yek", 1_700_000_000, b"{}"), want);
    }
}
