//! A few threads for what blocks: disk barriers, cold reads, walks. Results come back through a
//! queue whose event descriptor wakes the data loop.
use std::collections::VecDeque;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

type Job<T> = Box<dyn FnOnce() -> T + Send>;

struct Shared<T> {
    jobs: Mutex<(VecDeque<Job<T>>, bool)>,
    work: Condvar,
    done: Mutex<Vec<T>>,
    event: OwnedFd,
}

pub struct Pool<T> {
    shared: Arc<Shared<T>>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

/// A poisoned lock means that a job panicked; the queue itself is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl<T: Send + 'static> Pool<T> {
    pub fn new(threads: usize) -> std::io::Result<Pool<T>> {
        // SAFETY: plain call; a non-negative result is a descriptor that we own.
        let event = unsafe {
            match libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) {
                fd if fd < 0 => return Err(std::io::Error::last_os_error()),
                fd => OwnedFd::from_raw_fd(fd),
            }
        };
        let shared = Arc::new(Shared {
            jobs: Mutex::new((VecDeque::new(), false)),
            work: Condvar::new(),
            done: Mutex::new(Vec::new()),
            event,
        });
        let spawn = |index: usize| {
            let shared = shared.clone();
            std::thread::Builder::new().name(format!("pool-{index}")).spawn(move || serve(&shared))
        };
        let threads = (0..threads).map(spawn).collect::<std::io::Result<_>>()?;
        Ok(Pool { shared, threads })
    }

    /// Becomes readable when a result waits.
    pub fn raw(&self) -> RawFd {
        self.shared.event.as_raw_fd()
    }

    pub fn run(&self, job: impl FnOnce() -> T + Send + 'static) {
        lock(&self.shared.jobs).0.push_back(Box::new(job));
        self.shared.work.notify_one();
    }

    pub fn results(&self) -> Vec<T> {
        let mut counter = 0u64;
        // SAFETY: an eventfd is read eight bytes at a time; empty is EAGAIN and no error.
        unsafe {
            libc::read(self.raw(), std::ptr::from_mut(&mut counter).cast(), 8);
        }
        std::mem::take(&mut *lock(&self.shared.done))
    }
}

fn serve<T>(shared: &Shared<T>) {
    loop {
        let job = {
            let mut jobs = lock(&shared.jobs);
            loop {
                if let Some(job) = jobs.0.pop_front() {
                    break job;
                }
                if jobs.1 {
                    return;
                }
                jobs = shared.work.wait(jobs).unwrap_or_else(std::sync::PoisonError::into_inner);
            }
        };
        let result = job();
        lock(&shared.done).push(result);
        let one = 1u64;
        // SAFETY: as in `results`; the counter cannot overflow with results that exist in memory.
        unsafe {
            libc::write(shared.event.as_raw_fd(), std::ptr::from_ref(&one).cast(), 8);
        }
    }
}

impl<T> Drop for Pool<T> {
    /// Waits for what is under way: a barrier that was begun is finished.
    fn drop(&mut self) {
        lock(&self.shared.jobs).1 = true;
        self.shared.work.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_arrive_and_wake_the_descriptor() {
        let pool = Pool::new(2).unwrap();
        for number in 0..10 {
            pool.run(move || number);
        }
        let mut seen = Vec::new();
        while seen.len() < 10 {
            let mut poll = libc::pollfd { fd: pool.raw(), events: libc::POLLIN, revents: 0 };
            // SAFETY: one valid pollfd.
            assert_eq!(unsafe { libc::poll(&mut poll, 1, 5_000) }, 1, "no wake-up");
            seen.extend(pool.results());
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..10).collect::<Vec<_>>());
    }
}
