//! The access log: calls that are over go through a bounded queue to one thread, which writes them, one JSON object a line.

mod line;

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};

use thiserror::Error;
use tracing::warn;

use crate::config::AccessLogTo;
use crate::record::AccessRecord;

/// Calls that wait for the writer; further ones are dropped, and counted.
const WAITING: usize = 8_192;

/// A log that cannot be written.
#[derive(Debug, Error)]
pub enum LogError {
    /// The file.
    #[error("access_log {path}: cannot be opened for appending: {why}", path = .path.display())]
    Open {
        /// As configured.
        path: PathBuf,
        /// Why.
        why: std::io::Error,
    },
    /// The thread.
    #[error("access_log: no thread to write it: {0}")]
    Thread(std::io::Error),
}

/// Takes calls. Cheap to clone; the writer ends with the last clone, after everything that was taken is written.
#[derive(Debug, Clone, Default)]
pub struct AccessLog {
    queue: Option<SyncSender<Order>>,
    dropped: Arc<AtomicU64>,
    moved: Arc<AtomicBool>,
}

/// What the writer does.
#[derive(Debug)]
enum Order {
    Write(Box<AccessRecord>),
    /// Told when all that came before is written.
    Flush(SyncSender<()>),
}

impl AccessLog {
    /// Opens what the configuration names, and starts to write.
    ///
    /// # Errors
    /// A file that cannot be opened.
    pub fn open(to: &AccessLogTo) -> Result<Self, LogError> {
        let path = match to {
            AccessLogTo::Off => return Ok(Self::default()),
            AccessLogTo::Stdout => return Self::start(Box::new(std::io::stdout()), None),
            AccessLogTo::File(path) => path.clone(),
        };
        let file = append(&path)?;
        Self::start(Box::new(file), Some(path))
    }

    fn start(sink: Box<dyn Write + Send>, path: Option<PathBuf>) -> Result<Self, LogError> {
        let (queue, orders) = sync_channel(WAITING);
        let log = Self {
            queue: Some(queue),
            dropped: Arc::default(),
            moved: Arc::default(),
        };
        let writer = Writer {
            sink: BufWriter::with_capacity(64 << 10, sink),
            path,
            lost: Arc::clone(&log.dropped),
            moved: Arc::clone(&log.moved),
            failed: false,
        };
        std::thread::Builder::new()
            .name("access log".to_owned())
            .spawn(move || writer.run(&orders))
            .map_err(LogError::Thread)?;
        Ok(log)
    }

    /// Whether anybody wants to know; records need not be made otherwise.
    #[must_use]
    pub fn enabled(&self) -> bool {
        self.queue.is_some()
    }

    /// Takes a call, or drops and counts it if the writer is behind.
    pub fn write(&self, record: AccessRecord) {
        if let Some(queue) = &self.queue
            && queue.try_send(Order::Write(Box::new(record))).is_err()
        {
            self.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Calls that were not written: the writer was behind, or could not write.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Opens the file anew for the next call, after it was moved away. Nothing is lost between.
    pub fn reopen(&self) {
        self.moved.store(true, Relaxed);
    }

    /// Until all that was taken is written. Blocks.
    pub fn flush(&self) {
        if let Some(queue) = &self.queue {
            let (done, wait) = sync_channel(0);
            let _ = queue.send(Order::Flush(done));
            let _ = wait.recv();
        }
    }
}

fn append(path: &std::path::Path) -> Result<File, LogError> {
    let open = OpenOptions::new().append(true).create(true).open(path);
    open.map_err(|why| LogError::Open {
        path: path.to_owned(),
        why,
    })
}

struct Writer {
    sink: BufWriter<Box<dyn Write + Send>>,
    path: Option<PathBuf>,
    lost: Arc<AtomicU64>,
    moved: Arc<AtomicBool>,
    /// Told once, until it works again.
    failed: bool,
}

impl Writer {
    fn run(mut self, orders: &Receiver<Order>) {
        loop {
            let order = match orders.try_recv() {
                Ok(order) => order,
                Err(TryRecvError::Disconnected) => break,
                Err(TryRecvError::Empty) => {
                    // Whoever watches the file sees what is there.
                    self.flush();
                    match orders.recv() {
                        Ok(order) => order,
                        Err(_) => break,
                    }
                }
            };
            match order {
                Order::Write(record) => self.write(&record),
                Order::Flush(done) => {
                    self.flush();
                    let _ = done.send(());
                }
            }
        }
        self.flush();
    }

    fn write(&mut self, record: &AccessRecord) {
        if self.moved.swap(false, Relaxed) {
            self.reopen();
        }
        let line = line::of(record);
        match self.sink.write_all(line.as_bytes()) {
            Ok(()) => self.failed = false,
            Err(error) => {
                self.lost.fetch_add(1, Relaxed);
                self.tell(&error);
            }
        }
    }

    fn flush(&mut self) {
        if let Err(error) = self.sink.flush() {
            self.tell(&error);
        }
    }

    fn reopen(&mut self) {
        self.flush();
        let Some(path) = &self.path else { return };
        match append(path) {
            Ok(file) => self.sink = BufWriter::with_capacity(64 << 10, Box::new(file)),
            Err(error) => warn!(%error, "the access log goes on in the file it has"),
        }
    }

    fn tell(&mut self, error: &std::io::Error) {
        if !std::mem::replace(&mut self.failed, true) {
            warn!(%error, "the access log cannot be written; calls are counted as dropped until it can");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::line::tests::record;
    use super::*;
    use std::sync::mpsc::Sender;
    use std::sync::{Condvar, Mutex};

    #[test]
    fn lines_go_to_the_file_and_after_a_rotation_to_the_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let log = AccessLog::open(&AccessLogTo::File(path.clone())).unwrap();
        assert!(log.enabled() && !AccessLog::default().enabled());
        log.write(record());
        log.flush();
        let moved = folder.path().join("access.log.1");
        std::fs::rename(&path, &moved).unwrap();
        log.reopen();
        log.write(record());
        log.write(record());
        log.flush();
        let lines = |path| std::fs::read_to_string(path).unwrap().lines().count();
        assert_eq!((lines(&moved), lines(&path), log.dropped()), (1, 2, 0));
        let wrong = AccessLogTo::File(folder.path().join("no/such"));
        let error = AccessLog::open(&wrong).unwrap_err();
        assert!(error.to_string().contains("no/such"), "{error}");
    }

    /// A sink that takes nothing until it is told to.
    struct Stuck {
        gate: Arc<(Mutex<bool>, Condvar)>,
        taken: Sender<usize>,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let mut open = self.gate.0.lock().unwrap();
            while !*open {
                open = self.gate.1.wait(open).unwrap();
            }
            let _ = self
                .taken
                .send(bytes.iter().filter(|byte| **byte == b'\n').count());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_sink_that_is_stuck_stops_nobody_and_what_is_dropped_is_counted() {
        let gate = Arc::new((Mutex::new(false), Condvar::new()));
        let (taken, written) = std::sync::mpsc::channel();
        let stuck = Stuck {
            gate: Arc::clone(&gate),
            taken,
        };
        let log = AccessLog::start(Box::new(stuck), None).unwrap();
        let all = WAITING + 2_000;
        for _ in 0..all {
            log.write(record());
        }
        let dropped = usize::try_from(log.dropped()).unwrap();
        assert!(dropped > 0);
        *gate.0.lock().unwrap() = true;
        gate.1.notify_all();
        log.flush();
        drop(log);
        // Ends with the writer.
        let lines: usize = written.iter().sum();
        assert_eq!(lines + dropped, all);
    }
}
