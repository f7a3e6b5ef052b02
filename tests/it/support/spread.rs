//! One address for several nodes: connections are handed to them in turn, as a balancer in front
//! of a cluster does.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Ends with the value.
pub struct Spread {
    pub address: SocketAddr,
    counts: Arc<Vec<AtomicUsize>>,
    task: JoinHandle<()>,
}

impl Spread {
    pub async fn over(nodes: Vec<SocketAddr>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let counts: Arc<Vec<_>> = Arc::new(nodes.iter().map(|_| AtomicUsize::new(0)).collect());
        let counting = counts.clone();
        let task = tokio::spawn(async move {
            for node in (0..nodes.len()).cycle() {
                let Ok((mut client, _)) = listener.accept().await else { return };
                counting[node].fetch_add(1, Ordering::Relaxed);
                let to = nodes[node];
                tokio::spawn(async move {
                    let Ok(mut server) = TcpStream::connect(to).await else { return };
                    // Either side may leave when it wants to.
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        Self { address, counts, task }
    }

    /// How many connections each node has got.
    pub fn counts(&self) -> Vec<usize> {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }
}

impl Drop for Spread {
    fn drop(&mut self) {
        self.task.abort();
    }
}
