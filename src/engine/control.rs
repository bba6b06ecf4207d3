//! The engine's socket for its daemon: JSON lines, one daemon at a time, the newest wins.
use crate::model::{EngineCommand, EngineEvent};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// A daemon that does not read is cut off beyond this many bytes.
const BACKLOG_BYTES_MAX: usize = 4 << 20;

pub struct Control {
    path: PathBuf,
    listener: UnixListener,
    daemon: Option<UnixStream>,
    input: Vec<u8>,
    output: VecDeque<u8>,
}

impl Control {
    /// Takes the place of a socket that a dead engine left.
    pub fn bind(path: &Path) -> io::Result<Control> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        let path = path.to_owned();
        Ok(Control { path, listener, daemon: None, input: Vec::new(), output: VecDeque::new() })
    }

    pub fn listener(&self) -> RawFd {
        self.listener.as_raw_fd()
    }

    /// A daemon connected: its descriptor, to be watched. The one before is dropped.
    pub fn accept(&mut self) -> Option<RawFd> {
        let (stream, _) = self.listener.accept().ok()?;
        stream.set_nonblocking(true).ok()?;
        self.input.clear();
        self.output.clear();
        let fd = stream.as_raw_fd();
        self.daemon = Some(stream);
        Some(fd)
    }

    pub fn is_connected(&self) -> bool {
        self.daemon.is_some()
    }

    /// Whole lines that arrived, in order; a line that is no command is told back.
    pub fn receive(&mut self) -> Vec<EngineCommand> {
        let mut chunk = [0u8; 16 << 10];
        while let Some(daemon) = &mut self.daemon {
            match daemon.read(&mut chunk) {
                Ok(0) => self.daemon = None,
                Ok(length) => self.input.extend_from_slice(&chunk[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.daemon = None,
            }
        }
        let mut commands = Vec::new();
        while let Some(end) = self.input.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.input.drain(..=end).collect();
            match serde_json::from_slice(&line) {
                Ok(command) => commands.push(command),
                Err(error) => self.send(&EngineEvent::Refused {
                    command: String::from_utf8_lossy(&line).trim().chars().take(100).collect(),
                    reason: format!("not a command of this version of the engine: {error}"),
                }),
            }
        }
        commands
    }

    /// Tells the daemon; without one the event is lost, a new daemon begins with `Hello`.
    pub fn send(&mut self, event: &EngineEvent) {
        if self.daemon.is_none() {
            return;
        }
        let Ok(mut line) = serde_json::to_vec(event) else { return };
        line.push(b'\n');
        self.output.extend(line);
        self.flush();
        if self.output.len() > BACKLOG_BYTES_MAX {
            self.daemon = None;
        }
    }

    pub fn flush(&mut self) {
        while let Some(daemon) = &mut self.daemon {
            let (front, _) = self.output.as_slices();
            if front.is_empty() {
                return;
            }
            match daemon.write(front) {
                Ok(length) => drop(self.output.drain(..length)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.daemon = None,
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
