//! HTTP/2: frames that are wrong, and floods of frames that are right.

use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

use super::{Ended, Target, case, connect, spawn};
use crate::http::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, frame, head, hello, next,
};

/// Frames of a flood.
const FLOOD: u32 = 20_000;
/// Frames of a flood whose answers nobody reads: in all they are longer than what the kernel keeps of a connection, at both of its ends.
const DEAF: u32 = 4_000_000;
/// Flood frames that are written at once.
const BURST: u32 = 100;
/// CANCEL.
const CANCEL: [u8; 4] = [0, 0, 0, 8];

/// Whether the flooder reads what it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reads {
    Yes,
    No,
}

pub(super) fn spawn_all(all: &mut JoinSet<Ended>, target: &Target) {
    let (http, host) = (target.http, target.host.clone());
    let get = head(false, &host, "/echo/1");
    let request = |stream: u32, flags: u8, block: &[u8]| frame(HEADERS, flags, stream, block);
    let whole = END_HEADERS | END_STREAM;
    // GOAWAY: 11 enhance-your-calm, 1 protocol-error, 3 flow-control-error, 9 compression-error.
    let calm = &["goaway 11"];

    let resets = {
        let get = get.clone();
        move |number: u32| {
            let stream = 2 * number + 1;
            let mut bytes = request(stream, whole, &get);
            bytes.extend(frame(RST_STREAM, 0, stream, &CANCEL));
            bytes
        }
    };
    spawn(
        all,
        case("h2-rapid-reset", calm),
        flood(http, hello(), Reads::Yes, resets),
    );
    let settings = |_| frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]);
    spawn(
        all,
        case("h2-settings-flood", calm),
        flood(http, hello(), Reads::No, settings),
    );
    let pings = |_| frame(PING, 0, 0, &[7; 8]);
    spawn(
        all,
        case("h2-ping-flood", calm),
        flood(http, hello(), Reads::No, pings),
    );
    let begun = [hello(), request(1, END_STREAM, &get)].concat();
    // A header of 1 kB each time, and never the end of the head.
    let more = |_| {
        let field = [&[0x00, 1, b'x', 0x7f, 0x81, 0x07][..], &[b'y'; 1_024]].concat();
        frame(CONTINUATION, 0, 1, &field)
    };
    spawn(
        all,
        case("h2-continuation-flood", calm),
        flood(http, begun.clone(), Reads::Yes, more),
    );
    // Empty ones add nothing to the head, so no limit of its length ends them; one of their number does.
    let empty = |_| frame(CONTINUATION, 0, 1, &[]);
    spawn(
        all,
        case("h2-empty-continuations", calm),
        flood(http, begun, Reads::Yes, empty),
    );
    let nothing = {
        let post = head(true, &host, "/echo/1");
        move |number: u32| match number {
            0 => request(1, END_HEADERS, &post),
            _ => frame(DATA, 0, 1, &[]),
        }
    };
    spawn(
        all,
        case("h2-empty-data", calm),
        flood(http, hello(), Reads::Yes, nothing),
    );

    let window = frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]);
    let bomb = {
        // A field of 4 kB is put into the dynamic table, and then named 1,000 times.
        let mut block = get.clone();
        block.extend([0x40, 1, b'x', 0x7f, 0x81, 0x1e]);
        block.extend([b'y'; 3_968]);
        block.extend([0xbe; 1_000]);
        request(1, whole, &block)
    };
    let stalled = {
        // No window, and many answers that therefore wait.
        let mut bytes = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
        for number in 0..200 {
            bytes.extend(request(2 * number + 1, whole, &head(false, &host, "/page")));
        }
        bytes
    };
    let many = {
        let post = head(true, &host, "/echo/1");
        (0..1_000)
            .flat_map(|number| request(2 * number + 1, END_HEADERS, &post))
            .collect()
    };
    for (case, bytes) in [
        (
            case("h2-window-overflow", &["goaway 3"]),
            [window.clone(), window].concat(),
        ),
        (
            case("h2-data-on-no-stream", &["goaway 1"]),
            frame(DATA, 0, 0, b"x"),
        ),
        (
            case("h2-even-stream", &["goaway 1"]),
            request(2, whole, &get),
        ),
        (
            case("h2-bad-compression", &["goaway 9", "goaway 1"]),
            request(1, whole, &[0xff; 8]),
        ),
        (
            case("h2-frame-too-large", &["goaway 6"]),
            frame(DATA, 0, 1, &[0; 20_000]),
        ),
        (
            case(
                "h2-header-bomb",
                &["headers", "reset 11", "reset 1", "goaway 11"],
            ),
            bomb,
        ),
        (case("h2-no-window", &["headers", "held"]), stalled),
        (
            case("h2-too-many-streams", &["reset 7", "goaway 11", "headers"]),
            many,
        ),
    ] {
        spawn(all, case, tell(http, [hello(), bytes].concat()));
    }
}

/// Sends it all, and reads until the server has something to say about it.
async fn tell(address: SocketAddr, bytes: Vec<u8>) -> Result<String, String> {
    let mut stream = connect(address).await?;
    let (mut from, mut to) = stream.split();
    let write = async {
        let _ = to.write_all(&bytes).await;
        std::future::pending::<()>().await;
    };
    let read = async {
        while let Some(seen) = next(&mut from).await {
            match seen.kind {
                GOAWAY => return format!("goaway {}", seen.code),
                RST_STREAM => return format!("reset {}", seen.code),
                HEADERS => return "headers".into(),
                _ => {}
            }
        }
        "closed".into()
    };
    tokio::select! {
        how = read => Ok(how),
        () = write => unreachable!("it never ends"),
    }
}

/// Sends `start`, then frames as fast as they are taken, and reads what it is told: meanwhile, or only when no more are taken.
async fn flood(
    address: SocketAddr,
    start: Vec<u8>,
    reads: Reads,
    frames: impl Fn(u32) -> Vec<u8>,
) -> Result<String, String> {
    let mut stream = connect(address).await?;
    let (mut from, mut to) = stream.split();
    let most = match reads {
        Reads::Yes => FLOOD,
        Reads::No => DEAF,
    };
    let write = async {
        let mut sent = to.write_all(&start).await;
        for burst in 0..most / BURST {
            if sent.is_err() {
                break;
            }
            let first = burst * BURST;
            let bytes: Vec<u8> = (first..first + BURST).flat_map(&frames).collect();
            sent = to.write_all(&bytes).await;
            // The others, too, have a turn.
            tokio::task::yield_now().await;
        }
        sent.is_ok()
    };
    // A server that takes no more has said why before.
    let read = async {
        while let Some(seen) = next(&mut from).await {
            if seen.kind == GOAWAY {
                return format!("goaway {}", seen.code);
            }
        }
        "closed".to_string()
    };
    if reads == Reads::No {
        return Ok(match write.await {
            true => "survived".into(),
            false => read.await,
        });
    }
    let never = async {
        write.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        how = read => Ok(how),
        () = never => unreachable!("it never ends"),
    }
}
