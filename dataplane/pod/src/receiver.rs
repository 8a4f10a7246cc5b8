//! Who reads the pod's socket: a task of the pod, or whoever has its datagrams, without a task between.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, TryLockError};
use std::task::{Context, Poll, ready};

use dmsc_wire::Name;
use tokio::sync::Notify;
use tracing::debug;

use crate::burst::Burst;
use crate::counters::count;
use crate::datagram::{self, Datagram};
use crate::pod::Inner;
use crate::receive;
use crate::socket::Socket;

/// Looks at a datagram; `false`: there is no room for it now.
pub type Look<'a> = dyn FnMut(Datagram<'_>) -> bool + 'a;

/// Errors of the socket in a row, each about a packet that was sent, before others get their turn.
const ERRORS: usize = 64;
/// And packets.
const PACKETS: usize = 1_024;

/// The reading end of the socket.
pub(crate) struct Receiver {
    /// Whether somebody has the datagrams.
    taken: AtomicBool,
    returned: Notify,
    reading: Mutex<Reading>,
}

struct Reading {
    burst: Burst,
    covered: Covered,
}

impl Receiver {
    pub fn new(socket: &Socket) -> io::Result<Self> {
        Ok(Self {
            taken: AtomicBool::new(false),
            returned: Notify::new(),
            reading: Mutex::new(Reading {
                burst: Burst::new(socket)?,
                covered: Covered::default(),
            }),
        })
    }

    /// `false`: somebody has them.
    pub fn take(&self) -> bool {
        !self.taken.swap(true, SeqCst)
    }

    pub fn give_back(&self) {
        self.taken.store(false, SeqCst);
        self.returned.notify_one();
    }
}

/// Deals with packets until none is left, or until datagrams were shown to `look`. Without `look`, for the pod's task, it is never ready.
pub(crate) fn poll(
    inner: &Arc<Inner>,
    context: &mut Context<'_>,
    mut look: Option<&mut Look<'_>>,
) -> Poll<io::Result<()>> {
    let mut reading = match inner.receiver.reading.try_lock() {
        Ok(reading) => reading,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        // The task is about to stop, or a handler asks for datagrams that it itself holds up.
        Err(TryLockError::WouldBlock) => return again(context),
    };
    // Under the lock: the last who asks the socket is woken, and the task must not be the last.
    if look.is_none() && inner.receiver.taken.load(SeqCst) {
        return Poll::Pending;
    }
    let Reading { burst, covered } = &mut *reading;
    let (mut shown, mut errors, mut packets, mut rounds) = (false, 0, 0, 0);
    loop {
        while let Some(bytes) = burst.packet() {
            if packets == PACKETS {
                return again(context);
            }
            packets += 1;
            match packet(inner, covered, bytes, look.as_deref_mut()) {
                Passed::Elsewhere => {}
                Passed::Shown => shown = true,
                Passed::NoRoom => return Poll::Ready(Ok(())),
            }
            burst.advance();
        }
        if shown {
            return Poll::Ready(Ok(()));
        }
        if let Some(shared) = &inner.shared {
            let mut full = false;
            covered.forget();
            let frames = shared.look(context, &inner.counters, &mut |bytes| {
                if packets == PACKETS {
                    return false;
                }
                packets += 1;
                match packet(inner, covered, bytes, look.as_deref_mut()) {
                    Passed::Elsewhere => {}
                    Passed::Shown => shown = true,
                    Passed::NoRoom => full = true,
                }
                !full
            });
            if shown || full {
                return Poll::Ready(Ok(()));
            }
            rounds += 1;
            if packets == PACKETS || rounds == PACKETS {
                return again(context);
            }
            if frames > 0 {
                continue;
            }
        }
        // Makes way for other tasks from time to time.
        ready!(inner.socket.poll_recv_ready(context))?;
        covered.forget();
        let Err(error) = burst.read(&inner.socket) else {
            errors = 0;
            continue;
        };
        // The gateway is away; it is told once per packet of ours that it did not take.
        if error.kind() == io::ErrorKind::ConnectionRefused {
            inner.session.suspect();
        } else {
            debug!(%error, "receive");
        }
        errors += 1;
        if errors == ERRORS {
            return again(context);
        }
    }
}

/// Pending, and woken at once: others get their turn.
fn again<T>(context: &Context<'_>) -> Poll<T> {
    context.waker().wake_by_ref();
    Poll::Pending
}

enum Passed {
    /// To a call, to the handler, or away.
    Elsewhere,
    Shown,
    NoRoom,
}

fn packet(
    inner: &Arc<Inner>,
    covered: &mut Covered,
    bytes: &[u8],
    look: Option<&mut Look<'_>>,
) -> Passed {
    let counters = &inner.counters;
    let Ok(header) = dmsc_wire::parse(bytes) else {
        count(&counters.received);
        count(&counters.malformed);
        return Passed::Elsewhere;
    };
    let offered = look.and_then(|look| datagram::offer(inner, covered, &header, bytes, look));
    if offered == Some(false) {
        return Passed::NoRoom;
    }
    count(&counters.received);
    if offered.is_some() {
        return Passed::Shown;
    }
    receive::packet(inner, &header, bytes);
    Passed::Elsewhere
}

/// The name that was asked about last, if the pod may answer it: most datagrams of a burst are for one name.
#[derive(Debug, Default)]
pub(crate) struct Covered {
    name: Vec<u8>,
}

impl Covered {
    /// The registration may be another.
    fn forget(&mut self) {
        self.name.clear();
    }

    pub fn contains(&mut self, inner: &Inner, name: Name<'_>) -> bool {
        if self.name == name.as_bytes() {
            return true;
        }
        let covers = inner.session.registered().covers(name);
        self.name.clear();
        if covers {
            self.name.extend_from_slice(name.as_bytes());
        }
        covers
    }
}

/// The task: receives while nobody else does, and follows the registration, until the pod ends.
pub(crate) async fn run(inner: Arc<Inner>) {
    let mut registered = inner.session.subscribe();
    loop {
        tokio::select! {
            biased;
            Err(error) = std::future::poll_fn(|context| poll(&inner, context, None)) => {
                debug!(%error, "the runtime ends");
                return;
            }
            () = inner.receiver.returned.notified() => {}
            Ok(()) = registered.changed() => {
                let data = registered.borrow_and_update().data;
                inner.trains.forget();
                if inner.socket.peer_addr().ok() != Some(data)
                    && let Err(error) = inner.socket.connect(data)
                {
                    debug!(%error, %data, "connect");
                }
            }
        }
    }
}
