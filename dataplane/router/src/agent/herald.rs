//! Carries what workers hand over to those who wait for it: answers to own echoes, captured frames, news of state.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use dmsc_wire::{Body, Message, RequestId};
use tokio::sync::{mpsc, watch};

use crate::shared::Shared;

/// An answer to an echo of this router.
#[derive(Debug)]
pub struct Answer {
    /// The DMSC packet.
    pub packet: Vec<u8>,
    /// TSC when the worker handed it over.
    pub time: u64,
}

/// A captured frame.
#[derive(Debug)]
pub struct Captured {
    /// Leaving the port.
    pub outgoing: bool,
    /// TSC.
    pub time: u64,
    /// On the wire.
    pub length: u32,
    /// The bytes.
    pub bytes: Vec<u8>,
}

type Captures = HashMap<usize, Vec<mpsc::Sender<Captured>>>;

/// The meeting point.
#[derive(Debug)]
pub struct Herald {
    shared: Arc<Shared>,
    echoes: Mutex<HashMap<u64, mpsc::Sender<Answer>>>,
    captures: Mutex<Captures>,
    news: watch::Sender<u64>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The maps are consistent after every statement, so a panicked holder left them usable.
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Herald {
    /// With nobody waiting.
    pub fn new(shared: Arc<Shared>) -> Herald {
        Herald {
            shared,
            echoes: Mutex::default(),
            captures: Mutex::default(),
            news: watch::Sender::new(0),
        }
    }

    /// Waits for the answer to one request id.
    pub fn expect(&self, id: RequestId, sender: mpsc::Sender<Answer>) {
        lock(&self.echoes).insert(id.0, sender);
    }

    /// Does not wait any more.
    pub fn forget(&self, id: RequestId) {
        lock(&self.echoes).remove(&id.0);
    }

    /// Receives copies of the frames of a port.
    pub fn capture(&self, port: usize, sender: mpsc::Sender<Captured>) {
        lock(&self.captures).entry(port).or_default().push(sender);
        if let Some(port) = self.shared.ports.get(port) {
            port.captured.store(true, Relaxed);
        }
    }

    /// Counts up with every change of state.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Carries until the process stops; blocks while there is nothing.
    pub fn run(&self) {
        while self.shared.is_running() {
            let mut carried = false;
            while let Some(parcel) = self.shared.own.take() {
                carried = true;
                self.answer(&parcel.bytes, parcel.time);
                self.shared.own.give_back(parcel.bytes);
            }
            while let Some(parcel) = self.shared.captured.take() {
                carried = true;
                let copy = Captured {
                    outgoing: parcel.outgoing,
                    time: parcel.time,
                    length: parcel.length,
                    bytes: parcel.bytes.clone(),
                };
                self.shared.captured.give_back(parcel.bytes);
                self.copy(usize::from(parcel.port), copy);
            }
            if self.shared.changed.swap(false, Relaxed) {
                carried = true;
                self.news.send_modify(|n| *n += 1);
            }
            if carried {
                continue;
            }
            self.shared.herald_bell.prepare();
            if self.shared.own.is_empty()
                && self.shared.captured.is_empty()
                && !self.shared.changed.load(Relaxed)
                && self.shared.is_running()
            {
                self.shared.herald_bell.wait(Duration::from_secs(1));
            } else {
                self.shared.herald_bell.cancel();
            }
        }
    }

    fn answer(&self, packet: &[u8], time: u64) {
        let Ok(message) = Message::parse(packet) else {
            return;
        };
        let id = match &message.body {
            Body::Error(error) => error.request_id,
            _ => message.header.request_id,
        };
        let waiting = lock(&self.echoes).remove(&id.0);
        if let Some(sender) = waiting {
            // The waiter has room for every answer that it waits for; if it is gone, nobody misses this one.
            let _ = sender.try_send(Answer {
                packet: packet.to_vec(),
                time,
            });
        }
    }

    fn copy(&self, port: usize, frame: Captured) {
        let mut captures = lock(&self.captures);
        let Some(readers) = captures.get_mut(&port) else {
            return;
        };
        let frame = Arc::new(frame);
        readers.retain(|reader| {
            let copy = Captured {
                outgoing: frame.outgoing,
                time: frame.time,
                length: frame.length,
                bytes: frame.bytes.clone(),
            };
            !matches!(
                reader.try_send(copy),
                Err(mpsc::error::TrySendError::Closed(_))
            )
        });
        if readers.is_empty() {
            captures.remove(&port);
            if let Some(port) = self.shared.ports.get(port) {
                port.captured.store(false, Relaxed);
            }
        }
    }
}
