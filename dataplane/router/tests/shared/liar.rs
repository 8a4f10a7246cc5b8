//! A device that breaks the rules: a real one behind somebody who passes on what both ends say, keeps the memory that they share, and writes into it.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// Messages of vhost-user that are looked at, by their numbers.
const SET_MEM_TABLE: u32 = 5;
const SET_VRING_ADDR: u32 = 9;
const SET_VRING_CALL: u32 = 13;
/// Bytes of a message's head: request, flags, length.
const HEAD: usize = 12;

/// Which rule is broken, in the ring of frames for the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// More buffers used than the ring has.
    Count,
    /// A buffer that there is not.
    Id,
    /// More bytes than a buffer holds.
    Length,
}

/// What is known of the connection that is there.
#[derive(Default)]
struct Grip {
    memory: Option<File>,
    /// The pod's address of the region, and where it is in `memory`.
    region: (u64, u64),
    /// Where the used ring is in `memory`.
    used: Option<u64>,
    /// Wakes the pod.
    call: Option<File>,
}

#[derive(Default)]
struct Shared {
    grip: Mutex<Grip>,
    /// New connections are not passed on.
    closed: AtomicBool,
    connections: AtomicUsize,
}

/// It; ends with its process.
pub struct Liar {
    shared: Arc<Shared>,
    /// Where it listens.
    pub socket: PathBuf,
    _folder: tempfile::TempDir,
}

impl Liar {
    /// Before the device at `real`.
    pub fn before(real: &Path) -> Liar {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("liar");
        let listener = UnixListener::bind(&socket).unwrap();
        let shared = Arc::<Shared>::default();
        let (inner, real) = (Arc::clone(&shared), real.to_owned());
        std::thread::spawn(move || {
            for pod in listener.incoming().map_while(Result::ok) {
                inner.connections.fetch_add(1, Relaxed);
                if inner.closed.load(Relaxed) {
                    continue;
                }
                let Ok(device) = UnixStream::connect(&real) else {
                    continue;
                };
                *inner.grip.lock().unwrap() = Grip::default();
                pass_on(pod, device, &inner);
            }
        });
        Liar {
            shared,
            socket,
            _folder: folder,
        }
    }

    /// Whether a new connection is passed on to the device, or ended at once.
    pub fn close(&self, closed: bool) {
        self.shared.closed.store(closed, Relaxed);
    }

    /// Connections until now.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Relaxed)
    }

    /// Lies, and wakes the pod. The device may correct it before the pod looks. `false`: nobody is connected.
    pub fn lie(&self, lie: Lie) -> bool {
        self.shared.grip.lock().unwrap().lie(lie).is_some()
    }
}

impl Grip {
    fn lie(&mut self, lie: Lie) -> Option<()> {
        let (memory, used) = (self.memory.as_ref()?, self.used?);
        let mut index = [0; 2];
        memory.read_exact_at(&mut index, used + 2).ok()?;
        let index = u16::from_ne_bytes(index);
        let (id, length, next) = match lie {
            Lie::Count => (0_u32, 0_u32, index.wrapping_add(20_000)),
            Lie::Id => (60_000, 64, index.wrapping_add(1)),
            Lie::Length => (0, 1 << 20, index.wrapping_add(1)),
        };
        // A ring of 512; for one that is shorter it would be another place of the same ring, or behind it.
        let entry = used + 4 + 8 * u64::from(index % 512);
        let entry_bytes = [id.to_ne_bytes(), length.to_ne_bytes()].concat();
        memory.write_all_at(&entry_bytes, entry).ok()?;
        memory.write_all_at(&next.to_ne_bytes(), used + 2).ok()?;
        self.call.as_mut()?.write_all(&1_u64.to_ne_bytes()).ok()
    }

    /// Learns from what the pod says.
    fn learn(&mut self, request: u32, body: &[u8], fds: &[OwnedFd]) -> Option<()> {
        let u32_at = |at: usize| Some(u32::from_ne_bytes(*body.get(at..)?.first_chunk()?));
        let u64_at = |at: usize| Some(u64::from_ne_bytes(*body.get(at..)?.first_chunk()?));
        let file = || Some(File::from(fds.first()?.try_clone().ok()?));
        match request {
            SET_MEM_TABLE => {
                self.region = (u64_at(24)?, u64_at(32)?);
                self.memory = Some(file()?);
            }
            // Of the queue for the pod.
            SET_VRING_ADDR if u32_at(0)? == 0 => {
                let (address, offset) = self.region;
                self.used = Some(u64_at(16)? - address + offset);
            }
            SET_VRING_CALL if u64_at(0)? & 0xff == 0 => self.call = Some(file()?),
            _ => {}
        }
        Some(())
    }
}

/// Until one of them goes, then both are gone.
fn pass_on(pod: UnixStream, device: UnixStream, shared: &Arc<Shared>) {
    let (mut from, mut to) = (device.try_clone().unwrap(), pod.try_clone().unwrap());
    std::thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
    let shared = Arc::clone(shared);
    std::thread::spawn(move || {
        while let Ok((message, fds)) = hear(&pod) {
            let request = u32::from_ne_bytes(*message.first_chunk().unwrap());
            let mut grip = shared.grip.lock().unwrap();
            let _ = grip.learn(request, &message[HEAD..], &fds);
            drop(grip);
            if say(&device, &message, &fds).is_err() {
                break;
            }
        }
        let _ = device.shutdown(Shutdown::Both);
        let _ = pod.shutdown(Shutdown::Both);
    });
}

fn hear(mut stream: &UnixStream) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut message = vec![0; HEAD];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut message)];
    let heard = recvmsg(stream, &mut parts, &mut control, RecvFlags::WAITALL)?;
    if heard.bytes < HEAD {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut fds = Vec::new();
    for one in control.drain() {
        if let RecvAncillaryMessage::ScmRights(some) = one {
            fds.extend(some);
        }
    }
    let length = u32::from_ne_bytes(*message[8..].first_chunk().unwrap());
    message.resize(HEAD + length as usize, 0);
    stream.read_exact(&mut message[HEAD..])?;
    Ok((message, fds))
}

fn say(stream: &UnixStream, message: &[u8], fds: &[OwnedFd]) -> io::Result<()> {
    let fds: Vec<_> = fds.iter().map(|fd| fd.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&fds));
    }
    let parts = [IoSlice::new(message)];
    sendmsg(stream, &parts, &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}
