//! A wire between the proxy and its Redis that breaks at a chosen write.

use std::sync::{Arc, Mutex, OnceLock};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::support::loopback;

/// How the store writes: one script call each.
const WRITE: &[u8] = b"EVALSHA";
/// The key of calls that are none of a session's: what nodes announce, whenever it is time.
const ANNOUNCED: &[u8] = b":nodes\r\n";

/// What becomes of the write at which the wire breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It never reaches the server.
    Lost,
    /// The server carries it out, and nobody hears of it.
    AnswerLost,
}

/// The wire. Once it is broken all of its connections are closed, and new ones at once, until it
/// is mended.
pub struct Tap {
    address: std::net::SocketAddr,
    plan: Arc<Plan>,
    acceptor: JoinHandle<()>,
}

struct Plan {
    server: OnceLock<String>,
    /// Breaks when as many writes as this have come.
    at: Mutex<Option<(usize, Fault)>>,
    broken: watch::Sender<bool>,
}

impl Tap {
    pub async fn start() -> Self {
        let listener = TcpListener::bind(loopback(0)).await.expect("loopback has free ports");
        let address = listener.local_addr().expect("the socket is bound");
        let broken = watch::Sender::new(false);
        let plan = Arc::new(Plan { server: OnceLock::new(), at: Mutex::default(), broken });
        let shared = plan.clone();
        let acceptor = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(relay(client, shared.clone()));
            }
        });
        Self { address, plan, acceptor }
    }

    /// Leads to the server of this URL from now on; its own URL.
    pub fn lead_to(&self, url: &str) -> String {
        let server = url.trim_start_matches("redis://").trim_end_matches("/0");
        self.plan.server.set(server.to_owned()).expect("it leads to one server");
        format!("redis://{}/0", self.address)
    }

    /// Breaks at the n-th write from now on, counted from 1.
    pub fn break_at(&self, write: usize, fault: Fault) {
        *self.plan.at.lock().expect("no holder panics") = Some((write, fault));
    }

    pub fn is_broken(&self) -> bool {
        *self.plan.broken.borrow()
    }

    pub fn mend(&self) {
        self.plan.broken.send_replace(false);
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

impl Plan {
    /// Whether the wire breaks at what passes now.
    fn strikes(&self, bytes: &[u8]) -> Option<Fault> {
        let count = |word: &[u8]| bytes.windows(word.len()).filter(|part| *part == word).count();
        let writes = count(WRITE).saturating_sub(count(ANNOUNCED));
        let mut at = self.at.lock().expect("no holder panics");
        let (left, fault) = (*at)?;
        *at = left.checked_sub(writes).filter(|left| *left > 0).map(|left| (left, fault));
        at.is_none().then_some(fault)
    }
}

/// Passes bytes on in both directions. Returning closes both.
async fn relay(mut client: TcpStream, plan: Arc<Plan>) {
    let mut broken = plan.broken.subscribe();
    let Some(server) = plan.server.get().filter(|_| !*broken.borrow()) else { return };
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    let (mut asked, mut answered) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        let carried = tokio::select! {
            _ = broken.changed() => return,
            read = client.read(&mut asked) => {
                let bytes = &asked[..read.unwrap_or(0)];
                if bytes.is_empty() || *plan.broken.borrow() {
                    return;
                }
                match plan.strikes(bytes) {
                    None => server.write_all(bytes).await,
                    Some(fault) => {
                        if fault == Fault::AnswerLost && server.write_all(bytes).await.is_ok() {
                            // The server closes when it has carried out everything before.
                            let _ = server.shutdown().await;
                            let _ = server.read_to_end(&mut Vec::new()).await;
                        }
                        plan.broken.send_replace(true);
                        return;
                    }
                }
            }
            read = server.read(&mut answered) => match read {
                Ok(length) if length > 0 => client.write_all(&answered[..length]).await,
                _ => return,
            },
        };
        if carried.is_err() {
            return;
        }
    }
}
