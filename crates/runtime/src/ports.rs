//! Binds listeners, and says what holds a port that is taken.

use std::{fmt, io, net::SocketAddr};

use tokio::net::TcpListener;

/// A port that something else holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortInUse {
    /// What wanted it: `gateway http`.
    pub what: String,
    /// The setting that chooses it: `gateway.http_port`.
    pub setting: String,
    /// The address.
    pub address: SocketAddr,
    /// Process id and command of the holder, when it can be seen.
    pub holder: Option<(u32, String)>,
}

impl fmt::Display for PortInUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} is in use", self.what, self.address)?;
        match &self.holder {
            Some((pid, command)) => write!(f, " by process {pid} ({command}); stop it")?,
            None => f.write_str(" by a process of another user or namespace; stop it")?,
        }
        write!(f, " or set {} to another port", self.setting)
    }
}

/// Binds `address`.
pub(crate) async fn bind(what: &str, setting: &str, address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|cause| match cause.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse(PortInUse {
            what: what.to_owned(),
            setting: setting.to_owned(),
            address,
            holder: holder_of(address.port()),
        }),
        _ => BindError::Other { what: what.to_owned(), setting: setting.to_owned(), address, cause },
    })
}

/// Why a listener could not be bound.
#[derive(Debug)]
pub(crate) enum BindError {
    InUse(PortInUse),
    Other { what: String, setting: String, address: SocketAddr, cause: io::Error },
}

/// The process that listens on `port`, as far as this user may see it.
fn holder_of(port: u16) -> Option<(u32, String)> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| std::fs::read_to_string(table).ok())
        .flat_map(|table| listening_inodes(&table, port))
        .collect();
    let links: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let processes = std::fs::read_dir("/proc").ok()?;
    for process in processes.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(files) = std::fs::read_dir(process.path().join("fd")) else { continue };
        let holds = files.flatten().any(|file| {
            let target = std::fs::read_link(file.path()).ok();
            target.and_then(|t| t.into_os_string().into_string().ok()).is_some_and(|t| links.contains(&t))
        });
        if holds {
            return Some((pid, command_of(pid)));
        }
    }
    None
}

/// Inodes of the sockets in a table of `/proc/net` that listen on `port`.
fn listening_inodes(table: &str, port: u16) -> Vec<String> {
    const LISTEN: &str = "0A";
    let suffix = format!(":{port:04X}");
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let (local, state, inode) = (columns.get(1)?, columns.get(3)?, columns.get(9)?);
            (local.ends_with(&suffix) && *state == LISTEN).then(|| (*inode).to_owned())
        })
        .collect()
}

fn command_of(pid: u32) -> String {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<String> = line
        .split(|b| *b == 0)
        .filter(|word| !word.is_empty())
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect();
    let mut text = words.join(" ");
    if text.is_empty() {
        text = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned();
    }
    let mut shown: String = text.chars().take(120).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// The name of this machine or container.
pub(crate) fn host_name() -> String {
    let named = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| std::fs::read_to_string("/etc/hostname"));
    let name = named.unwrap_or_default().trim().to_owned();
    if name.is_empty() { "localhost".into() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listening_sockets_of_the_port_count() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:0BC5 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000 0 4711 1\n\
            1: 0100007F:0BC5 0100007F:9999 01 00000000:00000000 00:00000000 00000000  1000 0 4712 1\n\
            2: 0100007F:0BC6 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000 0 4713 1\n";
        assert_eq!(listening_inodes(table, 0x0BC5), ["4711"]);
    }

    #[tokio::test]
    async fn a_taken_port_names_its_holder_and_the_setting() {
        let first = bind("gateway http", "gateway.http_port", "127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = first.local_addr().unwrap();
        let refused = bind("gateway http", "gateway.http_port", address).await.unwrap_err();
        let BindError::InUse(refused) = refused else { panic!("{refused:?}") };
        assert_eq!(refused.holder.as_ref().map(|h| h.0), Some(std::process::id()));
        let text = refused.to_string();
        let want = format!("gateway http: {address} is in use by process {} (", std::process::id());
        assert!(text.starts_with(&want), "{text}");
        assert!(text.ends_with("stop it or set gateway.http_port to another port"), "{text}");
    }
}
