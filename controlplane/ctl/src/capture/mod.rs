//! `capture PORT`: copies of the frames of one port, as lines or as a pcapng file.

mod frame;
mod pcapng;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use dmsc_proto::v1::{CaptureRequest, CapturedFrame};
use futures::StreamExt;
use serde::Serialize;

use crate::agent::Agent;
use crate::cli::CaptureArgs;
use crate::failure::Failure;
use crate::output::Output;
use frame::FrameView;
use pcapng::PcapngWriter;

/// One frame in JSON, one line each.
#[derive(Debug, Serialize)]
pub struct CaptureView {
    /// Wall clock, since 1970.
    time_ns: u64,
    /// "in" or "out".
    direction: &'static str,
    length_bytes: u32,
    captured_bytes: usize,
    #[serde(flatten)]
    frame: FrameView,
}

/// Where frames go.
enum Target<'a> {
    Lines(&'a mut Output),
    File {
        writer: PcapngWriter<Box<dyn Write>>,
        /// A pipe is read while it is written.
        flush_each: bool,
    },
}

/// Captures until the count, the time, an interrupt, or the end of the dataplane.
///
/// # Errors
/// When the agent refuses, or the file or output cannot be written.
pub async fn run(
    agent: &mut Agent,
    args: &CaptureArgs,
    output: &mut Output,
) -> Result<(), Failure> {
    let request = CaptureRequest {
        port: args.port.clone(),
        snap_length: args.snap,
    };
    // First the agent, then the file: a wrong port name must not empty a good capture.
    let mut frames = agent.client.capture(request).await?.into_inner();
    let mut target = match &args.write {
        None => Target::Lines(output),
        Some(path) => Target::File {
            writer: open(path, args)?,
            flush_each: path == Path::new("-"),
        },
    };
    if let Target::File { writer, .. } = &mut target {
        // Wireshark on the other end of a pipe starts with the header, not with the first frame.
        writer.flush()?;
    }
    let end = tokio::time::sleep(args.seconds.unwrap_or(Duration::from_secs(3600 * 24 * 365)));
    tokio::pin!(end);
    let interrupt = tokio::signal::ctrl_c();
    tokio::pin!(interrupt);
    let (mut seen, mut missed) = (0u64, 0u64);
    while args.count.is_none_or(|count| seen < count) {
        let frame = tokio::select! {
            frame = frames.next() => frame,
            () = &mut end => None,
            _ = &mut interrupt => None,
        };
        let Some(frame) = frame.transpose()? else {
            break;
        };
        seen += 1;
        missed = frame.missed;
        take(&mut target, &frame, args.udp_port)?;
    }
    if let Target::File { mut writer, .. } = target {
        writer.finish(seen, missed)?;
        eprintln!("{seen} frames of {} written", args.port);
    }
    if missed > 0 {
        eprintln!("{missed} frames were not copied, because this reader was too slow");
    }
    Ok(())
}

fn open(path: &Path, args: &CaptureArgs) -> Result<PcapngWriter<Box<dyn Write>>, Failure> {
    let sink: Box<dyn Write> = if path == Path::new("-") {
        Box::new(BufWriter::new(io::stdout()))
    } else {
        let file = File::create(path).map_err(|source| Failure::Create {
            path: path.to_path_buf(),
            source,
        })?;
        Box::new(BufWriter::new(file))
    };
    Ok(PcapngWriter::new(sink, &args.port, args.snap)?)
}

fn take(target: &mut Target<'_>, frame: &CapturedFrame, udp_port: u16) -> io::Result<()> {
    match target {
        Target::File { writer, flush_each } => {
            writer.frame(frame.time_ns, frame.outgoing, frame.length, &frame.data)?;
            if *flush_each {
                writer.flush()?;
            }
            Ok(())
        }
        Target::Lines(output) => {
            let view = CaptureView {
                time_ns: frame.time_ns,
                direction: if frame.outgoing { "out" } else { "in" },
                length_bytes: frame.length,
                captured_bytes: frame.data.len(),
                frame: FrameView::new(&frame.data, udp_port),
            };
            if output.is_json() {
                output.json_line(&view)
            } else {
                output.line(&line(&view))
            }
        }
    }
}

/// Time of day in UTC, direction, length, contents.
fn line(view: &CaptureView) -> String {
    let (seconds, ns) = (
        view.time_ns / 1_000_000_000 % 86_400,
        view.time_ns % 1_000_000_000,
    );
    format!(
        "{:02}:{:02}:{:02}.{:06} {:<3} {:>5} B  {}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        ns / 1000,
        view.direction,
        view.length_bytes,
        view.frame.summary
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_time_direction_and_length() {
        let view = CaptureView {
            time_ns: (86_400 + 3_661) * 1_000_000_000 + 5_000,
            direction: "in",
            length_bytes: 60,
            captured_bytes: 60,
            frame: FrameView::new(&[0; 14], 35029),
        };
        assert!(
            line(&view).starts_with("01:01:01.000005 in     60 B  "),
            "{}",
            line(&view)
        );
    }
}
