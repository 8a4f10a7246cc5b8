//! The audit log: one line of JSON for every changing call, refused ones too.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use dmsc_proto::v1;
use serde::{Deserialize, Serialize};
use tracing::{error, info};

/// A file of this size becomes `audit.jsonl.1`, and the one that had this name is gone.
const ROTATE_BYTES: u64 = 10_000_000;
/// Records kept in memory for whoever asks.
const KEPT: usize = 1_000;
/// Records on their way to the file.
const WAITING: usize = 256;
/// Longest text of what was asked for, bytes.
pub const MAX_WHAT: usize = 4_096;

/// One call. Field names are an interface: programs read the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Wall clock, ms since 1970.
    pub at_ms: u64,
    /// "uid 0 (root)", or the SPIFFE id.
    pub who: String,
    /// "view", "operate", "admin", or "none".
    pub role: String,
    /// Name of the call.
    pub call: String,
    /// Difference or argument.
    pub what: String,
    /// "ok" or the refusal.
    pub outcome: String,
    /// Of the dataplane after the call.
    pub generation: u64,
}

impl From<Record> for v1::AuditRecord {
    fn from(record: Record) -> Self {
        Self {
            at_ms: record.at_ms,
            who: record.who,
            role: record.role,
            call: record.call,
            what: record.what,
            outcome: record.outcome,
            generation: record.generation,
        }
    }
}

/// The log of one daemon.
#[derive(Debug)]
pub struct AuditLog {
    latest: VecDeque<Record>,
    /// `None` only while it ends.
    records: Option<SyncSender<Record>>,
    writer: Option<JoinHandle<()>>,
}

/// What the thread has that writes: waiting for the disk is not for those who answer calls.
#[derive(Debug)]
struct Writer {
    path: PathBuf,
    file: File,
    size: u64,
}

/// A log that cannot be kept.
#[derive(Debug, thiserror::Error)]
#[error("audit log {}: {source}; let this process write in its state_dir", path.display())]
pub struct AuditError {
    path: PathBuf,
    source: std::io::Error,
}

impl AuditLog {
    /// Opens `audit.jsonl` in `state_dir`, which is made if it is missing.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn open(state_dir: &Path) -> Result<Self, AuditError> {
        let path = state_dir.join("audit.jsonl");
        let opened = std::fs::create_dir_all(state_dir).and_then(|()| open(&path));
        let (file, size) = match opened {
            Ok(opened) => opened,
            Err(source) => return Err(AuditError { path, source }),
        };
        let mut latest = VecDeque::new();
        for path in [old(&path), path.clone()] {
            load(&path, &mut latest);
        }
        let (records, told) = sync_channel(WAITING);
        let writer = Writer { path, file, size };
        Ok(Self {
            latest,
            records: Some(records),
            writer: Some(std::thread::spawn(move || writer.run(&told))),
        })
    }

    /// Appends a record; it is in the journal too. Not being able to write stops nobody, but is said aloud.
    pub fn append(&mut self, mut record: Record) {
        shorten(&mut record.what);
        shorten(&mut record.outcome);
        info!(
            who = record.who,
            role = record.role,
            call = record.call,
            what = record.what,
            outcome = record.outcome,
            generation = record.generation,
            "audit"
        );
        let told = |to: &SyncSender<Record>| to.try_send(record.clone()).is_ok();
        if !self.records.as_ref().is_some_and(told) {
            error!("audit record not written to its file: the disk does not follow");
        }
        push(&mut self.latest, record);
    }

    /// The last `limit` records, the latest last; at most 1,000 are known.
    #[must_use]
    pub fn latest(&self, limit: usize) -> Vec<Record> {
        let skip = self.latest.len().saturating_sub(limit);
        self.latest.iter().skip(skip).cloned().collect()
    }
}

impl Drop for AuditLog {
    /// What was appended is in the file after this.
    fn drop(&mut self) {
        self.records = None;
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has said so.
            let _ = writer.join();
        }
    }
}

impl Writer {
    fn run(mut self, told: &Receiver<Record>) {
        while let Ok(record) = told.recv() {
            if let Err(error) = self.write(&record) {
                error!(path = %self.path.display(), %error, "audit record not written");
            }
        }
    }

    fn write(&mut self, record: &Record) -> std::io::Result<()> {
        if self.size >= ROTATE_BYTES {
            std::fs::rename(&self.path, old(&self.path))?;
            (self.file, self.size) = open(&self.path)?;
        }
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        self.file.write_all(&line)?;
        self.size += line.len() as u64;
        self.file.sync_data()
    }
}

fn open(path: &Path) -> std::io::Result<(File, u64)> {
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o640)
        .open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

fn old(path: &Path) -> PathBuf {
    path.with_extension("jsonl.1")
}

/// Lines that are no records (half of one, after a crash) are passed over.
fn load(path: &Path, latest: &mut VecDeque<Record>) {
    let Ok(file) = File::open(path) else { return };
    let records = BufReader::new(file)
        .lines()
        .map_while(Result::ok)
        .filter_map(|line| serde_json::from_str(&line).ok());
    for record in records {
        push(latest, record);
    }
}

fn push(latest: &mut VecDeque<Record>, record: Record) {
    if latest.len() == KEPT {
        latest.pop_front();
    }
    latest.push_back(record);
}

fn shorten(text: &mut String) {
    if text.len() > MAX_WHAT {
        let end = text.floor_char_boundary(MAX_WHAT - 3);
        text.truncate(end);
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(what: &str) -> Record {
        Record {
            at_ms: 1,
            who: "uid 0 (root)".into(),
            role: "admin".into(),
            call: "Revoke".into(),
            what: what.into(),
            outcome: "ok".into(),
            generation: 3,
        }
    }

    #[test]
    fn records_outlive_the_process_and_half_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = AuditLog::open(folder.path()).unwrap();
        log.append(record("one"));
        log.append(record(&"ä".repeat(5_000)));
        drop(log);
        let mut file = open(&folder.path().join("audit.jsonl")).unwrap().0;
        file.write_all(b"{\"at_ms\": 1, \"wh\n").unwrap();
        let log = AuditLog::open(folder.path()).unwrap();
        assert_eq!(log.latest(100).len(), 2);
        assert_eq!(log.latest(100)[0], record("one"));
        assert!(log.latest(1)[0].what.len() <= MAX_WHAT);
    }

    #[test]
    fn a_large_file_is_put_aside_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = AuditLog::open(folder.path()).unwrap();
        log.append(record("before"));
        drop(log);
        let path = folder.path().join("audit.jsonl");
        let mut writer = Writer {
            file: open(&path).unwrap().0,
            path,
            size: ROTATE_BYTES,
        };
        writer.write(&record("after")).unwrap();
        let text = |name| std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert!(text("audit.jsonl.1").contains("before"));
        assert!(!text("audit.jsonl").contains("before"));
        let log = AuditLog::open(folder.path()).unwrap();
        assert_eq!(log.latest(10).len(), 2);
    }
}
