//! The daemon's side of the socket. It reads lines, knows who connected, and hands each request
//! to the [`Fanout`], which knows for whom it is; what it means is the [`Handler`]'s business.
use super::fanout::Fanout;
use super::request::Request;
use super::response::{Exit, Reply, Response};
use super::{LINE_BYTES_MAX, VERSION};
use futures_util::future::BoxFuture;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

/// Carries requests out. One call per request; many run at the same time.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request for this node. Lines before the last one go to `replies`.
    fn handle(&self, request: Request, replies: Replies) -> BoxFuture<'_, Response>;
}

/// Where the lines before the last one go.
#[derive(Clone, Debug)]
pub struct Replies(Option<mpsc::Sender<Reply>>);

impl Replies {
    /// For callers that want only the last line, as the link between daemons does.
    pub fn none() -> Replies {
        Replies(None)
    }

    pub fn channel(capacity: usize) -> (Replies, mpsc::Receiver<Reply>) {
        let (sender, receiver) = mpsc::channel(capacity);
        (Replies(Some(sender)), receiver)
    }

    /// `false`: nobody listens (any more).
    pub async fn send(&self, reply: Reply) -> bool {
        match &self.0 {
            Some(sender) => sender.send(reply).await.is_ok(),
            None => false,
        }
    }
}

/// Makes the socket at `path` for its owner only. A socket left by a dead daemon is replaced; one
/// that answers is an error (`AddrInUse`).
pub fn listen(path: &Path) -> std::io::Result<UnixListener> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    if path.exists() {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(std::io::Error::new(
                std::io::ErrorKind::AddrInUse,
                format!("another lockstep daemon answers on {}", path.display()),
            ));
        }
        std::fs::remove_file(path)?;
    }
    // Bound under another name first: nobody may connect between bind and chmod.
    let draft = path.with_extension(format!("{}.new", std::process::id()));
    let _ = std::fs::remove_file(&draft);
    let listener = UnixListener::bind(&draft)?;
    std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&draft, path)?;
    Ok(listener)
}

/// Accepts until the task is dropped. An error of one connection ends only that connection.
pub async fn serve(listener: UnixListener, door: Arc<Fanout>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let door = door.clone();
                tokio::spawn(async move {
                    if let Err(error) = converse(stream, door).await {
                        tracing::debug!(%error, "local connection ended");
                    }
                });
            }
            Err(error) => {
                // Out of descriptors: wait for some to be closed instead of spinning.
                tracing::warn!(%error, "accept on the local socket failed");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

async fn converse(stream: UnixStream, door: Arc<Fanout>) -> std::io::Result<()> {
    let peer = stream.peer_cred()?;
    let (reader, mut writer) = stream.into_split();
    if !may_ask(peer.uid(), nix::unistd::geteuid().as_raw()) {
        let text =
            format!("user id {} may not ask this daemon; run the command as root", peer.uid());
        let refused = Response::refused("not-authorised", text, Exit::NotAuthorised);
        return write_line(&mut writer, &Reply::here(refused)).await;
    }
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = Vec::new();
        let limit = LINE_BYTES_MAX as u64 + 1;
        let read = (&mut reader).take(limit).read_until(b'\n', &mut line).await?;
        if read == 0 {
            return Ok(());
        }
        let request = match parse(&line) {
            Ok(request) => request,
            Err(refused) => return write_line(&mut writer, &Reply::here(refused)).await,
        };
        let (replies, mut stream) = Replies::channel(64);
        let answer = door.answer(request, replies);
        tokio::pin!(answer);
        // Lines that are sent before the answer are written before it: the channel is drained
        // once more after the answer is there.
        let reply = loop {
            tokio::select! {
                biased;
                Some(reply) = stream.recv() => {
                    write_line(&mut writer, &Reply { last: false, ..reply }).await?;
                }
                reply = &mut answer => break reply,
            }
        };
        while let Ok(reply) = stream.try_recv() {
            write_line(&mut writer, &Reply { last: false, ..reply }).await?;
        }
        write_line(&mut writer, &Reply { last: true, ..reply }).await?;
    }
}

/// Root, or the user that the daemon itself runs as (in tests). The socket's mode says the same;
/// this holds also where somebody has changed the mode.
fn may_ask(uid: u32, own: u32) -> bool {
    uid == 0 || uid == own
}

fn parse(line: &[u8]) -> Result<Request, Response> {
    let usage = |text: String| Response::refused("bad-request", text, Exit::Usage);
    if line.len() > LINE_BYTES_MAX {
        return Err(usage(format!("the request is longer than {LINE_BYTES_MAX} bytes")));
    }
    let request: Request = serde_json::from_slice(line)
        .map_err(|error| usage(format!("the request cannot be read: {error}")))?;
    if request.v > VERSION {
        return Err(usage(format!(
            "the request has version {}, this daemon understands {VERSION}; \
             restart the daemon with the newer program",
            request.v
        )));
    }
    Ok(request)
}

async fn write_line(
    writer: &mut tokio::net::unix::OwnedWriteHalf,
    reply: &Reply,
) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    writer.write_all(&line).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_and_the_daemons_own_user_may_ask() {
        assert!(may_ask(0, 0) && may_ask(0, 1000) && may_ask(1000, 1000));
        assert!(!may_ask(1000, 0) && !may_ask(1000, 1001));
    }
}
