//! The thread that drives all peers: one turn each, paced by the clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use dmsc_dpdk::Eal;

use super::peer::{Mode, Peer, Tally};

/// What the thread shall do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Order {
    /// Hellos only.
    Quiet = 0,
    /// Frames.
    Fire = 1,
    /// Echoes.
    Echo = 2,
    /// End.
    Stop = 3,
}

/// The running thread; it ends when this value goes.
pub struct Generator {
    order: Arc<AtomicU8>,
    tallies: Vec<(String, Arc<Tally>)>,
    thread: Option<JoinHandle<Vec<Peer>>>,
}

impl Generator {
    /// Drives `peers`, each at `rate` frames per second once it is told to.
    pub fn start(eal: Arc<Eal>, peers: Vec<Peer>, rate: f64) -> std::io::Result<Generator> {
        let order = Arc::new(AtomicU8::new(Order::Quiet as u8));
        let tallies = peers
            .iter()
            .map(|p| (p.site().name.clone(), p.tally()))
            .collect();
        let orders = Arc::clone(&order);
        let thread = thread::Builder::new()
            .name("generator".into())
            .spawn(move || drive(&eal, peers, rate, &orders))?;
        Ok(Generator {
            order,
            tallies,
            thread: Some(thread),
        })
    }

    /// Tells the thread what to do.
    pub fn order(&self, order: Order) {
        self.order.store(order as u8, Relaxed);
    }

    /// What each port's peer did, by name of the port.
    pub fn tallies(&self) -> &[(String, Arc<Tally>)] {
        &self.tallies
    }

    /// Ends the thread; its peers, unless it panicked.
    pub fn stop(mut self) -> Vec<Peer> {
        self.order(Order::Stop);
        self.thread
            .take()
            .and_then(|thread| thread.join().ok())
            .unwrap_or_default()
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        self.order(Order::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // its panic was printed
        }
    }
}

fn drive(eal: &Eal, mut peers: Vec<Peer>, rate: f64, order: &AtomicU8) -> Vec<Peer> {
    // Without an lcore id the mempool cache is not used, which only costs time.
    let _lcore = eal.register_thread();
    let mut started = None;
    loop {
        let now = Instant::now();
        let mode = match order.load(Relaxed) {
            0 => Mode::Quiet,
            1 => {
                let since = now.duration_since(*started.get_or_insert(now));
                Mode::Fire {
                    due: (since.as_secs_f64() * rate) as u64,
                }
            }
            2 => Mode::Echo,
            _ => return peers,
        };
        let mut busy = false;
        for peer in &mut peers {
            busy |= peer.turn(now, mode);
        }
        if !busy {
            thread::sleep(Duration::from_micros(100));
        }
    }
}
