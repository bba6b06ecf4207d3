//! A mount that is given back: every call of a program is answered, those that come late with EIO.
//!
//! Answers over the ring are submitted before the mount is touched, for the entries name the device
//! by descriptor; and the ring's entries hold the mount's connection open, so its device stays
//! until the kernel has given the last of them back. Taking a mount away may itself wait for
//! requests of this loop: a thread of its own does it while the loop goes on answering.
use super::run::Engine;
use crate::capture::mount;
use crate::capture::ring::Wake;
use crate::disk::Errno;
use std::path::PathBuf;
use std::time::Duration;

/// Between two looks at the thread that takes mounts away.
const LOOK: Duration = Duration::from_millis(1);

impl Engine {
    /// Takes the FUSE mounts away, also with files open. `by_force`: whoever stays in a directory
    /// gets an error for each call from now on.
    pub fn unmount_all(&mut self, by_force: bool) {
        let count = self.captures.len();
        let dirs = self.config.dirs.iter().take(count);
        let dirs: Vec<PathBuf> = dirs.map(|dir| dir.path.clone()).collect();
        for index in 0..count {
            self.unwatch_capture(index);
        }
        self.mount_number += 1;
        let devices = self.captures.drain(..).map(|capture| capture.device);
        // Over the classic device nothing is left to answer, and closing it ends the connection.
        let ring = self.reactor.ring();
        self.leaving.extend(
            devices.filter(|device| ring.as_ref().is_some_and(|ring| ring.is_used(device.raw()))),
        );
        self.answer_late();
        let taken = std::thread::Builder::new().name("unmount".to_owned()).spawn(move || {
            for dir in &dirs {
                // What is not mounted any more needs nothing; what cannot be unmounted is found by
                // the next cover.
                let _ = if by_force { mount::abort(dir) } else { mount::uncover(dir, true) };
            }
        });
        match taken {
            Ok(thread) => {
                while !thread.is_finished() {
                    self.answer_late();
                }
                let _ = thread.join();
            }
            Err(error) => self.log('C', format!("the directories stay mounted: {error}")),
        }
        self.answer_late();
    }

    /// Submits what was answered and turns late requests away; everything else waits for the loop.
    fn answer_late(&mut self) {
        let mut wakes = Vec::new();
        if let Err(error) = self.reactor.wait(LOOK, &mut wakes) {
            self.log('C', format!("the data loop cannot wait: {error}"));
        }
        for wake in wakes {
            match wake {
                Wake::Request { slot, result } => self.ring_request(slot, result),
                other @ Wake::Readable(_) => self.late.push(other),
            }
        }
    }

    /// A request of a mount that was given back. A device without entries is not needed any more.
    pub fn turn_away(&mut self, entry: u32, result: i32) {
        let Some(ring) = self.reactor.ring() else { return };
        if result != 0 {
            ring.ended(entry, Errno(-result));
            self.leaving.retain(|device| ring.is_used(device.raw()));
            return;
        }
        let unique = ring.request(entry).0.unique;
        if let Err(error) = ring.reply(entry, unique, Some(Errno::IO), &[]) {
            self.log('C', format!("cannot answer the kernel: {error}"));
        }
    }
}
