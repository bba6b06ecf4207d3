//! The engine of a module, as its daemon sees it: a process of its own session that outlives the
//! daemon, and a socket with JSON lines.
//!
//! ```text
//! start:  write config -> spawn (setsid) -> connect -> Hello        -> Engine(Hello)
//! adopt:  connect to what is there       -> Hello                   -> Engine(Hello)
//! end:    socket closed -> process ended or killed                  -> EngineGone
//! ```
//! `EngineGone` is said when the process is no more, so that another may be started at once; of one
//! that even SIGKILL does not end (it waits for a disk that does not answer) after a while all the
//! same, for the peer is to take over. No other is started before it has ended.
use crate::config::paths::Paths;
use crate::decide::Event;
use crate::model::{EngineCommand, EngineConfig, EngineEvent, ModuleName};
use crate::watch::process::ProcessWatch;
use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

/// How long a new engine has until it listens and says hello.
const HELLO_LIMIT: Duration = Duration::from_secs(20);
/// How long an engine that was found has.
const ADOPT_LIMIT: Duration = Duration::from_secs(3);
/// A process whose socket closed ends within that, or is killed.
const END_LIMIT: Duration = Duration::from_millis(300);
/// An engine reports every second. One that says nothing for so long hangs (a disk that answers
/// nothing, a signal) and is ended: longer than any order may take.
const SILENCE_LIMIT: Duration = Duration::from_secs(90);
/// Longest line: a status with a long history.
const LINE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Where the engine's words go: events in order, from one engine at a time.
pub type Events = mpsc::Sender<Event>;

/// Hold on a running engine. Dropping it lets the engine run.
#[derive(Debug)]
pub struct EngineHandle {
    commands: mpsc::UnboundedSender<Order>,
}

#[derive(Debug)]
enum Order {
    Command(EngineCommand),
    Kill,
}

impl EngineHandle {
    pub fn send(&self, command: EngineCommand) {
        // A closed channel: the engine is gone, and `EngineGone` says so.
        let _ = self.commands.send(Order::Command(command));
    }

    pub fn kill(&self) {
        let _ = self.commands.send(Order::Kill);
    }
}

/// What is needed to start, find and name one module's engine.
#[derive(Clone, Debug)]
pub struct EngineSite {
    pub module: ModuleName,
    /// The program; `lockstep` itself, except in tests.
    pub program: PathBuf,
    pub config_file: PathBuf,
    pub socket: PathBuf,
    pub log_dir: PathBuf,
}

impl EngineSite {
    pub fn new(paths: &Paths, module: &ModuleName, program: &Path) -> EngineSite {
        EngineSite {
            module: module.clone(),
            program: program.to_owned(),
            config_file: paths.engine_config(module),
            socket: paths.engine_socket(module),
            log_dir: paths.module_log_dir(module),
        }
    }

    fn pid_file(&self) -> PathBuf {
        self.config_file.with_extension("pid")
    }

    /// Starts the engine; the answer is an event.
    pub fn start(&self, config: &EngineConfig, events: Events) -> EngineHandle {
        let (commands, orders) = mpsc::unbounded_channel();
        let (site, config) = (self.clone(), config.clone());
        tokio::spawn(async move {
            let reason = match site.launch(&config).await {
                Ok((watch, stream)) => converse(watch, stream, orders, &events).await,
                Err(error) => format!("start of the engine: {error}"),
            };
            let _ = events.send(Event::EngineGone { reason }).await;
        });
        EngineHandle { commands }
    }

    /// Looks for an engine that an earlier daemon started; the answer is an event.
    pub fn adopt(&self, events: Events) -> EngineHandle {
        let (commands, orders) = mpsc::unbounded_channel();
        let site = self.clone();
        tokio::spawn(async move {
            let reason = match timeout(ADOPT_LIMIT, site.find()).await {
                Ok(Ok((watch, stream))) => converse(watch, stream, orders, &events).await,
                Ok(Err(error)) => site.nobody(&error.to_string()).await,
                Err(_) => site.nobody("it does not answer").await,
            };
            let _ = events.send(Event::EngineGone { reason }).await;
        });
        EngineHandle { commands }
    }

    /// A process that does not answer its socket is no engine: it is ended before anybody starts
    /// another one.
    async fn nobody(&self, why: &str) -> String {
        match self.end_recorded().await {
            Ok(Some(pid)) => format!("no engine answered ({why}); process {pid} was ended"),
            Ok(None) => format!("no engine was found ({why})"),
            Err(error) => format!("no engine answered ({why}); {error}"),
        }
    }

    /// Ends what the last daemon started; the number of the process.
    ///
    /// # Errors
    /// It does not end.
    async fn end_recorded(&self) -> io::Result<Option<u32>> {
        let Some(watch) = self.recorded() else { return Ok(None) };
        let _ = watch.signal(libc::SIGKILL);
        match timeout(END_LIMIT, watch.exited()).await {
            Ok(_) => Ok(Some(watch.pid())),
            Err(_) => Err(io::Error::other(format!(
                "process {} of the earlier engine was killed and does not end: it waits for a \
                 disk that does not answer; repair the disk or restart the node",
                watch.pid()
            ))),
        }
    }

    async fn find(&self) -> io::Result<(ProcessWatch, Conversation)> {
        let stream = UnixStream::connect(&self.socket).await?;
        let pid = stream.peer_cred()?.pid().and_then(|pid| u32::try_from(pid).ok());
        let pid = pid.ok_or_else(|| io::Error::other("the socket does not say whose it is"))?;
        Ok((ProcessWatch::open(pid)?, Conversation::new(stream)))
    }

    async fn launch(&self, config: &EngineConfig) -> io::Result<(ProcessWatch, Conversation)> {
        // An engine of an earlier daemon that nobody adopted must not run beside the new one.
        self.end_recorded().await?;
        let text = serde_json::to_vec_pretty(config)?;
        write_private(&self.config_file, &text)?;
        let _ = fs::remove_file(&self.socket);
        fs::create_dir_all(&self.log_dir)?;
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o640)
            .open(self.log_dir.join("engine.log"))?;
        let mut command = Command::new(&self.program);
        command
            .arg("engine")
            .arg(self.module.as_str())
            .arg("--config")
            .arg(&self.config_file)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(false);
        // SAFETY: setsid is safe to call between fork and exec.
        unsafe {
            command.pre_exec(|| nix::unistd::setsid().map(|_| ()).map_err(io::Error::from));
        }
        let mut child = command.spawn()?;
        let pid = child.id().ok_or_else(|| io::Error::other("it ended at once"))?;
        let watch = ProcessWatch::open(pid)?;
        write_private(&self.pid_file(), pid.to_string().as_bytes())?;
        // Reaped when it ends, however long that takes.
        let (ended, mut end) = tokio::sync::oneshot::channel();
        tokio::spawn(async move {
            let status = child.wait().await;
            let _ = ended.send(status);
        });
        let until = Instant::now() + HELLO_LIMIT;
        loop {
            match UnixStream::connect(&self.socket).await {
                Ok(stream) => return Ok((watch, Conversation::new(stream))),
                Err(error) if Instant::now() > until => return Err(error),
                Err(_) => {}
            }
            tokio::select! {
                status = &mut end => {
                    let status = status.map_err(io::Error::other)??;
                    let said = last_words(&self.log_dir.join("engine.log"));
                    return Err(io::Error::other(format!("it ended with {status}{said}")));
                }
                () = sleep(Duration::from_millis(5)) => {}
            }
        }
    }

    /// The process that the last daemon started, if it is still an engine of this module.
    pub fn recorded(&self) -> Option<ProcessWatch> {
        let pid: u32 = fs::read_to_string(self.pid_file()).ok()?.trim().parse().ok()?;
        let watch = ProcessWatch::open(pid).ok()?;
        let words = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let words: Vec<&[u8]> = words.split(|byte| *byte == 0).collect();
        let config = self.config_file.as_os_str().as_encoded_bytes();
        (words.get(1) == Some(&&b"engine"[..]) && words.contains(&config)).then_some(watch)
    }
}

struct Conversation {
    reader: BufReader<tokio::net::unix::OwnedReadHalf>,
    writer: tokio::net::unix::OwnedWriteHalf,
}

impl Conversation {
    fn new(stream: UnixStream) -> Conversation {
        let (reader, writer) = stream.into_split();
        Conversation { reader: BufReader::new(reader), writer }
    }
}

/// Passes words to and fro until the engine is gone; says why.
async fn converse(
    watch: ProcessWatch,
    conversation: Conversation,
    mut orders: mpsc::UnboundedReceiver<Order>,
    events: &Events,
) -> String {
    let Conversation { reader, writer } = conversation;
    let reading = read_events(reader, events, SILENCE_LIMIT);
    // Beside the loop: an engine that takes nothing off its socket can still be killed.
    let (said, to_say) = mpsc::unbounded_channel();
    let writing = write_commands(writer, to_say);
    tokio::pin!(reading, writing);
    let reason = loop {
        tokio::select! {
            reason = &mut reading => break reason,
            Err(error) = &mut writing => break format!("it does not listen: {error}"),
            ended = watch.exited() => match ended {
                // What it said last is still in the socket.
                Ok(()) => {
                    let said = timeout(END_LIMIT, &mut reading).await;
                    break said.unwrap_or_else(|_| "its process ended".to_owned());
                }
                Err(error) => break format!("its process cannot be watched: {error}"),
            },
            order = orders.recv() => match order {
                Some(Order::Command(command)) => {
                    // The other end is held by `writing`, which lives as long as this loop.
                    let _ = said.send(command);
                }
                Some(Order::Kill) => {
                    let _ = watch.signal(libc::SIGKILL);
                }
                // The module's task ended: the engine goes on, for the next task or daemon, and
                // what it says to that one is none of our business.
                None => {
                    drop(said);
                    let _ = timeout(END_LIMIT, &mut writing).await;
                    return "nobody here looks after it any more".to_owned();
                }
            },
        }
    };
    if timeout(END_LIMIT, watch.exited()).await.is_err() {
        let _ = watch.signal(libc::SIGKILL);
        if timeout(HELLO_LIMIT, watch.exited()).await.is_err() {
            let pid = watch.pid();
            return format!("{reason}; killed, and process {pid} does not end: a hung disk?");
        }
    }
    reason
}

/// Writes what it is given, until nobody gives any more.
async fn write_commands(
    mut writer: tokio::net::unix::OwnedWriteHalf,
    mut commands: mpsc::UnboundedReceiver<EngineCommand>,
) -> io::Result<()> {
    while let Some(command) = commands.recv().await {
        let line = serde_json::to_vec(&command)?;
        writer.write_all(&[&line[..], b"\n"].concat()).await?;
    }
    Ok(())
}

async fn read_events(
    mut reader: BufReader<tokio::net::unix::OwnedReadHalf>,
    events: &Events,
    silence: Duration,
) -> String {
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut limited = tokio::io::AsyncReadExt::take(&mut reader, LINE_BYTES_MAX);
        match timeout(silence, limited.read_until(b'\n', &mut line)).await {
            Ok(Ok(0)) => return "it closed its socket".to_owned(),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return format!("its socket failed: {error}"),
            Err(_) => return format!("it hangs: not a word for {silence:?}"),
        }
        match serde_json::from_slice::<EngineEvent>(&line) {
            Ok(event) => {
                if events.send(Event::Engine(event)).await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
            Err(error) if line.ends_with(b"\n") => {
                tracing::warn!(%error, "an engine said something that is not understood");
            }
            Err(_) => return "it stopped in the middle of a line".to_owned(),
        }
    }
}

/// `: ` and the last line that the engine wrote before it ended, if any.
fn last_words(log: &Path) -> String {
    let Ok(bytes) = fs::read(log) else { return String::new() };
    let tail = &bytes[bytes.len().saturating_sub(4096)..];
    let text = String::from_utf8_lossy(tail);
    let line = text.lines().rev().find(|line| !line.trim().is_empty());
    line.map_or_else(String::new, |line| format!(": {}", line.trim()))
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    let draft = path.with_extension("new");
    let mut options = fs::OpenOptions::new();
    let mut file = options.create(true).write(true).truncate(true).mode(0o600).open(&draft)?;
    io::Write::write_all(&mut file, bytes)?;
    fs::rename(&draft, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_engine_that_says_nothing_hangs() {
        let (daemon, mut engine) = UnixStream::pair().unwrap();
        let (events, mut told) = mpsc::channel(4);
        let alone = serde_json::to_string(&EngineEvent::Alone { generation: 1 }).unwrap() + "\n";
        engine.write_all(alone.as_bytes()).await.unwrap();
        let reader = BufReader::new(daemon.into_split().0);
        let reason = read_events(reader, &events, Duration::from_millis(20)).await;
        assert_eq!(reason, "it hangs: not a word for 20ms");
        assert!(matches!(told.recv().await, Some(Event::Engine(EngineEvent::Alone { .. }))));
    }
}
