//! Ports and names that nobody else uses.

use std::{
    net::{Ipv4Addr, TcpListener},
    process,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::{SystemTime, UNIX_EPOCH},
};

static TAKEN: AtomicU32 = AtomicU32::new(0);

/// Below the range that Linux gives to outgoing connections, so that none of them takes the port of a server which is
/// being restarted.
const FIRST: u32 = 20_000;
const COUNT: u32 = 12_000;

/// A TCP port of 127.0.0.1 that is free now and not handed out twice by this process. Another process may still take
/// it first: who binds it must be ready to try another.
///
/// # Panics
/// When 12,000 ports are in use.
pub fn free_port() -> u16 {
    let start = process::id().wrapping_mul(7919);
    for _ in 0..COUNT {
        let step = TAKEN.fetch_add(1, Relaxed);
        let port = FIRST + start.wrapping_add(step) % COUNT;
        let port = u16::try_from(port).expect("the range lies below 65,536");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no free TCP port between {FIRST} and {}", FIRST + COUNT);
}

/// `prefix_` and a suffix that differs in every call of every process: for databases, keys, folders.
pub fn unique_name(prefix: &str) -> String {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
    format!("{prefix}_{}_{now:x}_{}", process::id(), CALLS.fetch_add(1, Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_names_are_not_handed_out_twice() {
        assert_ne!(free_port(), free_port());
        assert_ne!(unique_name("db"), unique_name("db"));
    }
}
