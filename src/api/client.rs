//! The caller's side of the socket: blocking, because a command asks one thing and waits.
use super::LINE_BYTES_MAX;
use super::request::{Command, Nodes, Request};
use super::response::Reply;
use crate::config::paths::Paths;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No daemon listens there.
    #[error("lockstep daemon not running: nothing answers on {}", .0.display())]
    NotRunning(PathBuf),
    /// The socket is not for this user.
    #[error("{} may only be used by root", .0.display())]
    NotAuthorised(PathBuf),
    /// The daemon went away before the last line.
    #[error("the daemon closed the connection before it had answered")]
    Cut,
    #[error("the daemon's answer cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// It may still carry the request out.
    #[error("the daemon{} does not answer, waited {} s", process(*.pid), .waited.as_secs())]
    TimedOut {
        /// Of the daemon, as the kernel tells it.
        pid: Option<i32>,
        waited: Duration,
    },
    #[error("talk to the daemon: {0}")]
    Io(std::io::Error),
}

fn process(pid: Option<i32>) -> String {
    pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}

impl From<std::io::Error> for ClientError {
    fn from(error: std::io::Error) -> ClientError {
        match error.kind() {
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => {
                ClientError::TimedOut { pid: None, waited: Duration::ZERO }
            }
            _ => ClientError::Io(error),
        }
    }
}

/// A connection to the daemon; several requests may follow each other on it.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects to the socket of `Paths::daemon_socket`.
    pub fn connect(socket: &Path) -> Result<Client, ClientError> {
        match UnixStream::connect(socket) {
            Ok(stream) => Ok(Client { stream: BufReader::new(stream) }),
            Err(error) => Err(match error.kind() {
                std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => {
                    ClientError::NotRunning(socket.to_owned())
                }
                std::io::ErrorKind::PermissionDenied => {
                    ClientError::NotAuthorised(socket.to_owned())
                }
                _ => ClientError::Io(error),
            }),
        }
    }

    /// Limit for each line of an answer; `None` waits for ever.
    pub fn set_timeout(&mut self, limit: Option<Duration>) -> Result<(), ClientError> {
        Ok(self.stream.get_ref().set_read_timeout(limit)?)
    }

    /// The process that listens on the socket.
    fn daemon_pid(&self) -> Option<i32> {
        let credentials = nix::sys::socket::sockopt::PeerCredentials;
        let told = nix::sys::socket::getsockopt(self.stream.get_ref(), credentials).ok()?;
        Some(told.pid()).filter(|pid| *pid > 0)
    }

    /// Asks, gives every line before the last to `each`, returns the last one.
    pub fn call_each(
        &mut self,
        request: &Request,
        each: impl FnMut(Reply),
    ) -> Result<Reply, ClientError> {
        self.call_patient(request, each, Err)
    }

    /// As [`Client::call_each`]; `silent` says whether a line that did not come within the limit is
    /// waited for again.
    fn call_patient(
        &mut self,
        request: &Request,
        mut each: impl FnMut(Reply),
        mut silent: impl FnMut(ClientError) -> Result<(), ClientError>,
    ) -> Result<Reply, ClientError> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line)?;
        loop {
            let mut line = Vec::new();
            // Answers carry logs and tables, never archives: the same limit fits.
            let limit = LINE_BYTES_MAX as u64;
            // What came before the limit stays in `line`.
            let mut stream = (&mut self.stream).take(limit);
            while let Err(error) = stream.read_until(b'\n', &mut line) {
                match ClientError::from(error) {
                    error @ ClientError::TimedOut { .. } => silent(error)?,
                    error => return Err(error),
                }
            }
            if line.last() != Some(&b'\n') {
                return Err(ClientError::Cut);
            }
            let reply: Reply = serde_json::from_slice(&line)?;
            if reply.last {
                return Ok(reply);
            }
            each(reply);
        }
    }
}

/// Limits for an answer. A daemon knows at once what it is asked for; another node's must be
/// reached first. Anything else may have to be carried out by other nodes, and the link between
/// daemons has its own limit ([`crate::peer::CALL_LIMIT`]) that must come first.
const QUESTION_LIMIT: Duration = Duration::from_secs(5);
const QUESTION_FAR_LIMIT: Duration = Duration::from_secs(30);
const ACTION_LIMIT: Duration = Duration::from_secs(960);
const _: () = assert!(ACTION_LIMIT.as_secs() > crate::peer::CALL_LIMIT.as_secs());

/// How an action is waited for: one that takes minutes and a daemon that is stopped are both
/// silent, so that the daemon is asked something easy now and then.
#[derive(Clone, Copy)]
struct Patience {
    ask_every: Duration,
    answer_within: Duration,
    limit: Duration,
}

const PATIENCE: Patience =
    Patience { ask_every: QUESTION_LIMIT, answer_within: QUESTION_LIMIT, limit: ACTION_LIMIT };

/// Connects, asks once, returns all lines; the last one is the last element.
pub fn call(paths: &Paths, request: &Request) -> Result<Vec<Reply>, ClientError> {
    match limit_of(request) {
        ACTION_LIMIT => call_watched(paths, request, PATIENCE),
        limit => call_within(paths, request, limit),
    }
}

/// As [`call_within`], and given up early when the daemon does not answer a ping either.
fn call_watched(
    paths: &Paths,
    request: &Request,
    patience: Patience,
) -> Result<Vec<Reply>, ClientError> {
    let mut replies = Vec::new();
    let mut client = Client::connect(&paths.daemon_socket())?;
    client.set_timeout(Some(patience.ask_every))?;
    let (pid, begin) = (client.daemon_pid(), Instant::now());
    let ping = Request::new(request.origin.clone(), None, Command::Ping);
    let silent = |_| {
        let waited = begin.elapsed();
        if waited >= patience.limit {
            return Err(ClientError::TimedOut { pid, waited });
        }
        match call_within(paths, &ping, patience.answer_within) {
            Err(ClientError::TimedOut { .. }) => {
                Err(ClientError::TimedOut { pid, waited: begin.elapsed() })
            }
            // The answer to the action says what became of a daemon that is gone.
            _ => Ok(()),
        }
    };
    let last = client.call_patient(request, |reply| replies.push(reply), silent)?;
    replies.push(last);
    Ok(replies)
}

fn limit_of(request: &Request) -> Duration {
    let asks = matches!(
        request.command,
        Command::Ping
            | Command::State
            | Command::ClusterState
            | Command::Level
            | Command::Metrics
            | Command::Settings
            | Command::Processes
            | Command::ResourceGet { .. }
    );
    match (asks, request.nodes == Nodes::Local) {
        (true, true) => QUESTION_LIMIT,
        (true, false) => QUESTION_FAR_LIMIT,
        (false, _) => ACTION_LIMIT,
    }
}

/// As [`call`], with a limit (above 0) for each line.
pub fn call_within(
    paths: &Paths,
    request: &Request,
    limit: Duration,
) -> Result<Vec<Reply>, ClientError> {
    let mut replies = Vec::new();
    let mut client = Client::connect(&paths.daemon_socket())?;
    client.set_timeout(Some(limit))?;
    let last = client.call_each(request, |reply| replies.push(reply)).map_err(|error| {
        let pid = client.daemon_pid();
        match error {
            ClientError::TimedOut { .. } => ClientError::TimedOut { pid, waited: limit },
            other => other,
        }
    })?;
    replies.push(last);
    Ok(replies)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Origin, Response};
    use std::os::unix::net::UnixListener;
    use std::thread;

    const HASTY: Patience = Patience {
        ask_every: Duration::from_millis(50),
        answer_within: Duration::from_millis(200),
        limit: Duration::from_secs(60),
    };

    fn start() -> Request {
        Request::new(Origin::default(), None, Command::Start)
    }

    fn door() -> (tempfile::TempDir, Paths, UnixListener) {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::below(dir.path());
        std::fs::create_dir_all(paths.daemon_socket().parent().unwrap()).unwrap();
        let listener = UnixListener::bind(paths.daemon_socket()).unwrap();
        (dir, paths, listener)
    }

    /// The kernel takes connections of a stopped process.
    #[test]
    fn an_action_is_not_waited_for_where_the_daemon_is_stopped() {
        let (_dir, paths, _listener) = door();
        let error = call_watched(&paths, &start(), HASTY).unwrap_err();
        let ClientError::TimedOut { pid, waited } = error else { panic!("{error}") };
        assert_eq!(pid, Some(std::process::id() as i32));
        assert!(waited < Duration::from_secs(30), "{waited:?}");
    }

    #[test]
    fn an_action_that_takes_long_is_waited_for_while_the_daemon_answers() {
        let (_dir, paths, listener) = door();
        let daemon = thread::spawn(move || {
            let (mut action, _) = listener.accept().unwrap();
            let answer = serde_json::to_vec(&Reply::here(Response::ok())).unwrap();
            // A part of the answer that comes early is not lost.
            action.write_all(&answer[..9]).unwrap();
            for _ in 0..3 {
                let (mut ping, _) = listener.accept().unwrap();
                ping.write_all(&[&answer[..], b"\n"].concat()).unwrap();
            }
            action.write_all(&[&answer[9..], b"\n"].concat()).unwrap();
        });
        let patience = Patience { answer_within: Duration::from_secs(20), ..HASTY };
        assert_eq!(call_watched(&paths, &start(), patience).unwrap().len(), 1);
        daemon.join().unwrap();
    }

    /// A collector must not hang with a daemon that hangs.
    #[test]
    fn metrics_are_a_question() {
        let request = Request::new(Origin::default(), None, Command::Metrics);
        assert_eq!(limit_of(&request), QUESTION_LIMIT);
    }
}
