//! `virtual_addr connections="on"`: how many TCP connections of an address are established. A
//! number and no judgement: rules may compare it, nothing is up or down.
use super::Running;
use crate::actions::vip;
use std::net::IpAddr;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

const INTERVAL: Duration = Duration::from_secs(10);

/// A number that was counted: the first time, and whenever it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// `connections.10.0.0.9`
    pub resource: String,
    pub number: usize,
}

/// The resource of an address.
pub fn resource(addr: IpAddr) -> String {
    format!("connections.{addr}")
}

/// Counts until it is dropped, or until nobody receives what it counts.
pub fn count(addr: IpAddr, to: mpsc::Sender<Count>) -> Running {
    let mut tasks = JoinSet::new();
    tasks.spawn(watch(addr, INTERVAL, to));
    Running { _tasks: tasks }
}

async fn watch(addr: IpAddr, interval: Duration, to: mpsc::Sender<Count>) {
    let mut told = None;
    let mut puzzled = false;
    loop {
        match vip::established(addr).await {
            Ok(number) if told == Some(number) => {}
            Ok(number) => {
                told = Some(number);
                let _ = to.send(Count { resource: resource(addr), number }).await;
            }
            Err(error) if !puzzled => {
                tracing::warn!(%addr, %error, "connections are not counted");
                puzzled = true;
            }
            Err(_) => {}
        }
        if to.is_closed() {
            return;
        }
        sleep(interval).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[tokio::test]
    async fn a_number_is_told_when_it_changes() {
        // An address of the loopback network that no other test uses.
        let addr: IpAddr = "127.88.7.6".parse().unwrap();
        let server = TcpListener::bind((addr, 0)).unwrap();
        let (to, mut counted) = mpsc::channel(8);
        let counting = tokio::spawn(watch(addr, Duration::from_millis(20), to));
        let number = async |counted: &mut mpsc::Receiver<Count>| {
            let next = tokio::time::timeout(Duration::from_secs(5), counted.recv()).await;
            let count = next.unwrap().unwrap();
            assert_eq!(count.resource, "connections.127.88.7.6");
            count.number
        };
        assert_eq!(number(&mut counted).await, 0);
        let client = TcpStream::connect(server.local_addr().unwrap()).unwrap();
        assert_eq!(number(&mut counted).await, 1, "the server's end; the client has 127.0.0.1");
        drop(client);
        assert_eq!(number(&mut counted).await, 0);
        drop(counted);
        tokio::time::timeout(Duration::from_secs(5), counting).await.unwrap().unwrap();
    }
}
