//! A TCP proxy that can lose a server's answers.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

/// Stands between a journal and its server.
pub(crate) struct Proxy {
    /// The address to use instead of the server's.
    pub(crate) url: String,
    swallow: Arc<AtomicBool>,
    cut: Arc<Notify>,
}

impl Proxy {
    pub(crate) async fn start(url: &str) -> Self {
        let server = url.split(['@', '/']).find(|part| part.starts_with("127.0.0.1:")).unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = listener.local_addr().unwrap().to_string();
        let (swallow, cut) = (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()));
        let proxy = Self { url: url.replace(&server, &here), swallow: swallow.clone(), cut: cut.clone() };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&server).await.unwrap();
                let (swallow, cut) = (swallow.clone(), cut.clone());
                tokio::spawn(async move {
                    tokio::select! { () = forward(client, server, swallow) => {}, () = cut.notified() => {} }
                });
            }
        });
        proxy
    }

    /// From now on what the server says is thrown away.
    pub(crate) fn swallow_answers(&self) {
        self.swallow.store(true, Ordering::SeqCst);
    }

    /// Closes every connection; new ones work again.
    pub(crate) fn cut(&self) {
        self.swallow.store(false, Ordering::SeqCst);
        self.cut.notify_waiters();
    }
}

async fn forward(client: TcpStream, server: TcpStream, swallow: Arc<AtomicBool>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = async { tokio::io::copy(&mut from_client, &mut to_server).await.map(drop) };
    let down = async {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = from_server.read(&mut buffer).await?;
            if read == 0 {
                return std::io::Result::Ok(());
            }
            if !swallow.load(Ordering::SeqCst) {
                to_client.write_all(&buffer[..read]).await?;
            }
        }
    };
    // Either side's end closes both.
    tokio::select! { _ = up => {}, _ = down => {} }
}
