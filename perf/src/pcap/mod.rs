//! The frames of the measurements as capture files.

mod args;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use dmsc_dpdk::MacAddr;
use dmsc_proto::v1::dataplane_agent_client::DataplaneAgentClient;

pub use args::PcapArgs;

use crate::prng::Prng;
use crate::record::Progress;
use crate::torture::capture::Writer;
use crate::torture::outer::Frame;
use crate::transit::{self, LINKS, Link, Mode, Neighbour, STAMP, Size, Way};

/// Hellos in a file: with one a second, and each good for a minute, enough for ten minutes.
const HELLOS: u64 = 600;
/// Bytes of frames in a file, unless a count is asked for.
const BYTES: f64 = 16_384.0;

/// Writes the files.
///
/// # Errors
/// When one cannot be written, or the router cannot be programmed.
pub fn run(args: &PcapArgs) -> anyhow::Result<ExitCode> {
    std::fs::create_dir_all(&args.dir)
        .with_context(|| format!("cannot make {}", args.dir.display()))?;
    let steps = args.mode.len() * args.frame.len();
    let mut progress = Progress::start("pcap", steps);
    let router = match &args.agent {
        None => None,
        Some(agent) => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            Some(runtime.block_on(program(agent, args.prefixes))?)
        }
    };
    for mode in &args.mode {
        for size in &args.frame {
            let path = args.dir.join(format!("{mode}-{size}.pcap"));
            let round = size.cycle().len() as u32;
            let count = args
                .count
                .unwrap_or((BYTES / size.mean()) as u32 / round * round);
            let what = (*mode, *size, count, args.prefixes);
            write_traffic(&path, LINKS, what, router, args.to)?;
            progress.step(&format!("{}: {count} frames", path.display()));
        }
    }
    // The neighbours take as much as the longest frame needs, or the router would say that it is too big.
    let mtu = args.frame.iter().map(|size| size.mtu()).max();
    if let (Some(router), Some(mtu)) = (router, mtu) {
        for (link, to) in LINKS.into_iter().zip([args.to, args.to_out]) {
            let path = args.dir.join(format!("hello-{}.pcap", link.port));
            write_hellos(&path, link, router, mtu, HELLOS, to)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn program(agent: &Path, prefixes: u32) -> anyhow::Result<(u32, u64)> {
    let channel = dmsc_proto::connect_unix(agent)
        .await
        .with_context(|| format!("no agent answers at {}", agent.display()))?;
    let mut client = DataplaneAgentClient::new(channel);
    let (version_min, version_max) = dmsc_proto::AGENT_VERSIONS;
    let greeted = client
        .greet(dmsc_proto::v1::GreetRequest {
            version_min,
            version_max,
            client: "dmsc-perf".into(),
        })
        .await
        .map_err(|status| anyhow::anyhow!("the agent refused to greet: {}", status.message()))?
        .into_inner();
    for ops in transit::operations(LINKS, prefixes) {
        let transaction = dmsc_proto::v1::Transaction {
            programmer: "dmsc-perf".into(),
            ops,
        };
        client
            .apply(transaction)
            .await
            .map_err(|status| anyhow::anyhow!("the agent refused: {}", status.message()))?;
    }
    Ok((greeted.node, greeted.boot_nonce))
}

/// Writes frames that come in by the first link of a way (mode, size, how many, prefixes), to the Ethernet address `to`; in front of them, for a
/// `router` (node id and boot nonce), what the neighbour there says to it once.
///
/// # Errors
/// When the file cannot be written.
pub fn write_traffic(
    path: &Path,
    way: Way,
    (mode, size, count, prefixes): (Mode, Size, u32, u32),
    router: Option<(u32, u64)>,
    to: Option<MacAddr>,
) -> anyhow::Result<()> {
    let hellos = router
        .into_iter()
        .flat_map(|router| hellos(way[0], router, size.mtu(), 1));
    let traffic = traffic(way, mode, size, count, prefixes);
    write(path, hellos.chain(traffic), to)
}

fn traffic(
    way: Way,
    mode: Mode,
    size: Size,
    count: u32,
    prefixes: u32,
) -> impl Iterator<Item = (u64, Vec<u8>)> {
    let mut prng = Prng::new(2544, 0);
    let cycle = size.cycle();
    (0..count as usize).map(move |index| {
        let number = prng.below(prefixes as usize) as u32;
        let length = cycle[index % cycle.len()];
        let frame = transit::frame(way, mode, length, number, [0; STAMP]);
        (index as u64, frame.bytes)
    })
}

/// Writes what the neighbour on `link` says to the router `router` (node id and boot nonce): where it is, and `count` hellos.
///
/// # Errors
/// When the file cannot be written.
pub fn write_hellos(
    path: &Path,
    link: Link,
    router: (u32, u64),
    mtu: u16,
    count: u64,
    to: Option<MacAddr>,
) -> anyhow::Result<()> {
    write(path, hellos(link, router, mtu, count), to)
}

fn hellos(
    link: Link,
    (node, boot): (u32, u64),
    mtu: u16,
    count: u64,
) -> impl Iterator<Item = (u64, Vec<u8>)> {
    let mut neighbour = Neighbour::patient();
    neighbour.assume(link, dmsc_wire::NodeId(node), boot);
    let mut frame = Frame::default();
    (0..2 * count).map(move |index| {
        match index % 2 {
            0 => transit::introduction(link, &mut frame),
            _ => neighbour.hello(link, mtu, &mut frame),
        }
        (index / 2 * 1_000_000, frame.bytes.clone())
    })
}

/// Frames with their times in microseconds.
fn write(
    path: &Path,
    frames: impl Iterator<Item = (u64, Vec<u8>)>,
    to: Option<MacAddr>,
) -> anyhow::Result<()> {
    let all = || -> std::io::Result<()> {
        let mut writer = Writer::create(path)?;
        for (time, mut bytes) in frames {
            if let (Some(to), Some(place)) = (to, bytes.first_chunk_mut()) {
                *place = to.0;
            }
            writer.frame(time, &bytes)?;
        }
        writer.finish()
    };
    all().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::torture::capture::read;
    use crate::torture::outer::find_dmsc;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: PcapArgs,
    }

    #[test]
    fn files_hold_what_the_router_takes() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("name-imix.pcap");
        let to = MacAddr([2, 9, 9, 9, 9, 9]);
        let what = (Mode::Name, Size::Imix, 24, 1_000);
        write_traffic(&path, LINKS, what, None, Some(to)).expect("written");
        let mut lengths = Vec::new();
        read(&path, |frame| {
            assert_eq!(frame[..6], to.0);
            let (packet, ..) = find_dmsc(frame).expect("DMSC");
            assert!(dmsc_wire::parse(packet).is_ok());
            lengths.push(frame.len());
        })
        .expect("read");
        assert_eq!(lengths.len(), 24);
        assert_eq!(lengths[..12], Size::Imix.cycle());

        let path = dir.path().join("hello-in.pcap");
        write_hellos(&path, LINKS[0], (1, 77), 1_800, 3, None).expect("written");
        let mut sequences = Vec::new();
        read(&path, |frame| {
            if let Some((packet, ..)) = find_dmsc(frame) {
                let header = dmsc_wire::parse(packet).expect("well-formed");
                let hello = dmsc_wire::Hello::decode(header.payload(packet)).expect("a hello");
                assert_eq!(hello.heard.map(|heard| heard.boot_nonce), Some(77));
                sequences.push(hello.sequence);
            }
        })
        .expect("read");
        assert_eq!(sequences, [1, 2, 3]);
    }

    /// `perf/pktgen` holds what `dmsc-perf pcap --dir perf/pktgen` writes.
    #[test]
    fn the_files_beside_the_scripts_are_fresh() {
        let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("pktgen");
        let dir = tempfile::tempdir().expect("a folder");
        let line = ["pcap", "--dir", dir.path().to_str().expect("text")];
        run(&Line::parse_from(line).args).expect("written");
        let mut compared = 0;
        for entry in std::fs::read_dir(dir.path()).expect("a folder") {
            let entry = entry.expect("a file");
            let fresh = std::fs::read(entry.path()).expect("read");
            let old = std::fs::read(kept.join(entry.file_name())).unwrap_or_default();
            assert!(
                fresh == old,
                "perf/pktgen/{} is not what this program writes: `dmsc-perf pcap --dir perf/pktgen`",
                entry.file_name().display()
            );
            compared += 1;
        }
        assert_eq!(compared, 14);
    }
}
