//! Quiescent-state based reclamation: one publisher hands immutable generations of a value to
//! polling workers, which pay one acquire load and one release store per burst (design §5).
//!
//! A worker says "I hold nothing older than generation g" whenever it is between two bursts, and
//! "I hold nothing" before it sleeps. The publisher never waits: it keeps replaced generations in a
//! list and frees, when asked to, those that every worker has passed. Destructors therefore run
//! where [`Publisher::reclaim`] is called, never on a worker.

// Together with `raw` the only unsafe code of this crate.
#![allow(unsafe_code)]

use std::fmt;
use std::ops::Deref;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;

use crate::Generation;
use crate::sync::Arc;
use crate::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering, fence};

/// A worker's word when it holds nothing.
const OFFLINE: u64 = 0;
/// Low bits of a worker's word: a count of its bursts, so that one that hangs shows although nothing
/// is published. The generation is above them.
const BEAT_BITS: u32 = 24;
const BEAT_MASK: u64 = (1 << BEAT_BITS) - 1;

/// A value and the generation it was published as.
struct Node<T> {
    generation: u64,
    value: T,
}

/// What one worker tells: written by its reader, read by the publisher.
struct Slot {
    /// Whether a [`Reader`] exists for this slot.
    claimed: AtomicBool,
    /// [`OFFLINE`], or generation and beat.
    word: AtomicU64,
}

struct Shared<T> {
    current: AtomicPtr<Node<T>>,
    slots: Box<[CachePadded<Slot>]>,
    /// What a dropped publisher could not free yet; freed with `self`.
    orphans: Mutex<Vec<Retired<T>>>,
}

// SAFETY: `Shared` owns its nodes like a `Box<T>` and lends them as `&T` to several threads; both are
// sound for a `T` that is Send and Sync.
unsafe impl<T: Send + Sync> Send for Shared<T> {}
// SAFETY: see above; the mutable state is atomics and a mutex.
unsafe impl<T: Send + Sync> Sync for Shared<T> {}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        let current = self.current.load(Ordering::Acquire);
        // SAFETY: `current` came from `Box::into_raw` and was not retired, so nobody else frees it;
        // publisher and readers each hold an `Arc` of `self`, so none is left to use it.
        drop(unsafe { Box::from_raw(current) });
    }
}

/// A node that is no longer current, and owned by whoever holds this.
struct Retired<T>(*mut Node<T>);

// SAFETY: an owned node is sent like the `Box` it is made from.
unsafe impl<T: Send> Send for Retired<T> {}

impl<T> Retired<T> {
    fn generation(&self) -> u64 {
        // SAFETY: the node is alive until `self` is dropped, and immutable.
        unsafe { (*self.0).generation }
    }
}

impl<T> Drop for Retired<T> {
    fn drop(&mut self) {
        // SAFETY: made from `Box::into_raw` and owned by `self`. It is dropped only by
        // `Publisher::reclaim`, after every reader has passed it, or with `Shared`, when no reader is left.
        drop(unsafe { Box::from_raw(self.0) });
    }
}

/// Creates a publisher whose generation 1 is `initial`, for at most `max_readers` workers.
pub fn channel<T: Send + Sync>(initial: T, max_readers: usize) -> Publisher<T> {
    Publisher::new(initial, max_readers)
}

/// As [`channel`], with `initial` as `generation`, at least 1: for a process that goes on where another stopped.
pub fn channel_at<T: Send + Sync>(
    initial: T,
    max_readers: usize,
    generation: Generation,
) -> Publisher<T> {
    Publisher::starting_at(initial, max_readers, generation.0.max(1))
}

/// What the publisher last saw of a worker's beat.
#[derive(Clone, Copy)]
struct Seen {
    word: u64,
    since: Instant,
}

/// The one end that publishes and frees. Keep it on a control core.
pub struct Publisher<T> {
    shared: Arc<Shared<T>>,
    generation: u64,
    retired: Vec<Retired<T>>,
    seen: Vec<Option<Seen>>,
}

impl<T: Send + Sync> Publisher<T> {
    /// See [`channel`].
    pub fn new(initial: T, max_readers: usize) -> Self {
        Self::starting_at(initial, max_readers, 1)
    }

    fn starting_at(initial: T, max_readers: usize, generation: u64) -> Self {
        let first = Box::into_raw(Box::new(Node {
            generation,
            value: initial,
        }));
        let slot = || Slot {
            claimed: AtomicBool::new(false),
            word: AtomicU64::new(OFFLINE),
        };
        let shared = Shared {
            current: AtomicPtr::new(first),
            slots: (0..max_readers).map(|_| CachePadded::new(slot())).collect(),
            orphans: Mutex::new(Vec::new()),
        };
        Self {
            shared: Arc::new(shared),
            generation,
            retired: Vec::new(),
            seen: vec![None; max_readers],
        }
    }

    /// A reader for one more worker, offline until it first enters; `None` when `max_readers` exist.
    pub fn reader(&self) -> Option<Reader<T>> {
        let claim = |slot: &CachePadded<Slot>| {
            slot.claimed
                .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
        };
        let slot = self.shared.slots.iter().position(claim)?;
        Some(Reader {
            shared: Arc::clone(&self.shared),
            slot,
            observed: self.generation,
            beat: 0,
            online: false,
        })
    }

    /// Makes `next` what workers see from their next burst on. Never blocks and frees nothing.
    pub fn publish(&mut self, next: T) -> Generation {
        self.generation += 1;
        let node = Box::into_raw(Box::new(Node {
            generation: self.generation,
            value: next,
        }));
        // Release: whoever loads the pointer sees the node's content.
        let old = self.shared.current.swap(node, Ordering::AcqRel);
        self.retired.push(Retired(old));
        Generation(self.generation)
    }

    /// The value that was published last.
    pub fn current(&self) -> &T {
        let node = self.shared.current.load(Ordering::Relaxed);
        // SAFETY: only `publish` replaces the pointer and only `reclaim` frees what was replaced; both
        // need `&mut self`, so the node outlives this borrow.
        unsafe { &(*node).value }
    }

    /// The generation that was published last.
    pub fn generation(&self) -> Generation {
        Generation(self.generation)
    }

    /// The oldest generation that an online worker may still use; the current one if all sleep.
    pub fn observed(&self) -> Generation {
        // Pairs with the fence in `Reader::online`: either the reader's word is seen here as online,
        // or the reader sees the pointer that was stored before this fence.
        fence(Ordering::SeqCst);
        let words = self
            .shared
            .slots
            .iter()
            .map(|slot| slot.word.load(Ordering::Acquire));
        let oldest = words
            .filter(|&word| word != OFFLINE)
            .map(|word| word >> BEAT_BITS)
            .min();
        Generation(oldest.unwrap_or(self.generation))
    }

    /// Frees the replaced generations that every worker has passed, and says how many.
    pub fn reclaim(&mut self) -> usize {
        let observed = self.observed().0;
        let before = self.retired.len();
        // Generations retire in order.
        let passed = self
            .retired
            .partition_point(|node| node.generation() < observed);
        self.retired.drain(..passed);
        before - self.retired.len()
    }

    /// How many replaced generations wait to be freed.
    pub fn waiting(&self) -> usize {
        self.retired.len()
    }

    /// Workers (in the order of their creation while none was dropped) that are online and have not
    /// come to the end of a burst for at least `limit`, counted from the first call that saw it so:
    /// call it several times per `limit`.
    pub fn silent_readers(&mut self, limit: Duration) -> Vec<usize> {
        let now = Instant::now();
        let mut silent = Vec::new();
        for (index, (slot, seen)) in self.shared.slots.iter().zip(&mut self.seen).enumerate() {
            let word = slot.word.load(Ordering::Relaxed);
            match seen {
                Some(seen) if seen.word == word && word != OFFLINE => {
                    if now.duration_since(seen.since) >= limit {
                        silent.push(index);
                    }
                }
                _ => *seen = Some(Seen { word, since: now }),
            }
        }
        silent
    }
}

impl<T> Drop for Publisher<T> {
    fn drop(&mut self) {
        // Readers may still use them; the last owner of `Shared` frees them.
        let mut orphans = self
            .shared
            .orphans
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        orphans.append(&mut self.retired);
    }
}

impl<T> fmt::Debug for Publisher<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher")
            .field("generation", &self.generation)
            .field("waiting", &self.retired.len())
            .finish_non_exhaustive()
    }
}

/// The end of one worker. It may be sent to another thread, never shared or cloned.
///
/// What [`Reader::snapshot`] and [`Reader::enter`] lend cannot be kept across
/// [`Reader::quiescent`] or [`Reader::offline`]:
/// ```compile_fail,E0499
/// let mut publisher = dmsc_fib::qsbr::channel(1, 1);
/// let mut reader = publisher.reader().unwrap();
/// let value = reader.enter();
/// reader.quiescent();
/// println!("{value}");
/// ```
pub struct Reader<T> {
    shared: Arc<Shared<T>>,
    slot: usize,
    /// Generation of the last pointer that was loaded.
    observed: u64,
    beat: u64,
    online: bool,
}

impl<T: Send + Sync> Reader<T> {
    /// The current value, for the burst that begins now. One acquire load; goes online first if the
    /// reader is offline.
    #[inline]
    pub fn snapshot(&mut self) -> Snapshot<'_, T> {
        if !self.online {
            self.online();
        }
        let node = self.shared.current.load(Ordering::Acquire);
        // SAFETY: the pointer was current at the load or later than that, and this reader's word is
        // online with a generation that is not newer, so `reclaim` keeps the node until the word
        // changes. That takes `&mut self`, which ends the borrow that is returned here.
        let node = unsafe { &*node };
        self.observed = node.generation;
        Snapshot { node }
    }

    /// [`Reader::snapshot`] as a plain reference.
    #[inline]
    pub fn enter(&mut self) -> &T {
        self.snapshot().get()
    }

    /// Ends the burst: nothing older than the generation that was OBSERVED last is held any more. A
    /// counter beside the pointer would not do: it may be ahead of what the next burst loads. One
    /// release store, which orders the burst's reads before it; nothing if the reader is offline.
    #[inline]
    pub fn quiescent(&mut self) {
        if self.online {
            self.store_word(Ordering::Release);
        }
    }

    /// Before sleeping or blocking: nothing is held. The publisher does not wait for this worker.
    pub fn offline(&mut self) {
        self.online = false;
        self.shared.slots[self.slot]
            .word
            .store(OFFLINE, Ordering::Release);
    }

    /// After sleeping. [`Reader::snapshot`] does the same by itself.
    pub fn online(&mut self) {
        self.online = true;
        // An old generation is only too cautious: it holds back freeing until the next `quiescent`.
        // Release: it overwrites the release store of `offline`, which reads before it belong to.
        self.store_word(Ordering::Release);
        // Pairs with the fence in `Publisher::observed`.
        fence(Ordering::SeqCst);
    }

    /// Whether the publisher waits for this worker.
    pub fn is_online(&self) -> bool {
        self.online
    }

    /// The generation of the last snapshot.
    pub fn generation(&self) -> Generation {
        Generation(self.observed)
    }

    /// This worker's number in [`Publisher::silent_readers`].
    pub fn index(&self) -> usize {
        self.slot
    }

    #[inline]
    fn store_word(&mut self, order: Ordering) {
        self.beat = self.beat.wrapping_add(1);
        let word = self.observed << BEAT_BITS | self.beat & BEAT_MASK;
        self.shared.slots[self.slot].word.store(word, order);
    }
}

impl<T> Drop for Reader<T> {
    fn drop(&mut self) {
        let slot = &self.shared.slots[self.slot];
        slot.word.store(OFFLINE, Ordering::Release);
        slot.claimed.store(false, Ordering::Release);
    }
}

impl<T> fmt::Debug for Reader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("index", &self.slot)
            .field("observed", &self.observed)
            .field("online", &self.online)
            .finish_non_exhaustive()
    }
}

/// A generation, lent to one worker for one burst.
pub struct Snapshot<'a, T> {
    node: &'a Node<T>,
}

impl<'a, T> Snapshot<'a, T> {
    /// The value, for as long as the reader lends it.
    #[inline]
    pub fn get(self) -> &'a T {
        &self.node.value
    }

    /// Which generation this is.
    #[inline]
    pub fn generation(&self) -> Generation {
        Generation(self.node.generation)
    }
}

impl<T> Clone for Snapshot<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Snapshot<'_, T> {}

impl<T> Deref for Snapshot<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.node.value
    }
}

impl<T: fmt::Debug> fmt::Debug for Snapshot<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("generation", &self.node.generation)
            .field("value", &self.node.value)
            .finish()
    }
}
