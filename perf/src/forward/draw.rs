//! Prefixes, and the names that are drawn from them: made here, or read from a file.

use std::path::Path;

use anyhow::{Context, bail};
use dmsc_wire::{FlowLabel, Kind, Name, NameBuf, NodeId, PacketBuilder};

use super::Traffic;
use super::tables;
use crate::prng::Prng;

/// Bytes of a packet that are stamped.
pub const HEAD: usize = 128;

/// The front of a packet as it is stamped: two cache lines.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub struct Head(pub [u8; HEAD]);

/// Name of the caller in every packet.
const CALLER: &str = "/c/1";

/// Components of made names: 2 to 6, 3.6 on average; 38 bytes.
const COMPONENTS: [usize; 10] = [2, 3, 3, 3, 3, 4, 4, 4, 4, 6];

/// `count` prefixes, all different.
///
/// # Errors
/// When the file cannot be read, or has no name that fits.
pub fn prefixes(count: usize, file: Option<&Path>) -> anyhow::Result<Vec<NameBuf>> {
    match file {
        Some(file) => read(count, file),
        None => Ok((0..count).map(made).collect()),
    }
}

/// The made prefix number `index`: components of 8 to 12 bytes, the number spread over them so that neighbours share the first ones.
fn made(index: usize) -> NameBuf {
    let mut prng = Prng::new(index as u64, 7);
    let components = COMPONENTS[index % COMPONENTS.len()];
    let mut text = String::new();
    for place in 0..components {
        let number = match components - 1 - place {
            0 => index,
            up => index >> (5 * up).min(20),
        };
        let letters = 10 + prng.below(2) * 2;
        text.push_str(&format!("/s{number:0>width$}", width = letters - 1 - place));
    }
    NameBuf::parse(&text).unwrap_or_else(|_| unreachable!("letters and digits make a name"))
}

fn read(count: usize, file: &Path) -> anyhow::Result<Vec<NameBuf>> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("--names {}: cannot be read", file.display()))?;
    let mut names = std::collections::BTreeSet::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let path = line.trim_start_matches('/').replace('.', "/");
        // What no name can represent is left out: real lists have some.
        if let Ok(name) = NameBuf::parse(&format!("/{path}")) {
            names.insert(name);
        }
    }
    if names.is_empty() {
        bail!("--names {}: no line of it is a name", file.display());
    }
    Ok(names.into_iter().take(count).collect())
}

/// What was drawn for the frames that come in by one port.
pub struct Drawn {
    /// In the order of their use.
    pub heads: Vec<Head>,
    /// Prefixes whose names are too long for the frame.
    pub too_long: usize,
}

/// Draws `count` packets of `total` bytes for port `port`, from the prefixes that lead out of the other one; `stamped` with their gateway.
/// If there is one prefix alone, all are for that; of those that come in by the port that it leads out of, nothing is heard again.
///
/// # Errors
/// When no name fits.
pub fn draw(
    prefixes: &[NameBuf],
    port: usize,
    count: usize,
    total: usize,
    traffic: Traffic,
    stamped: bool,
) -> anyhow::Result<Drawn> {
    let caller = NameBuf::parse(CALLER)?;
    let room = total.min(HEAD) - dmsc_wire::FIXED_LEN - caller.as_bytes().len() - 3;
    let (usable, too_long): (Vec<usize>, Vec<usize>) = (0..prefixes.len())
        .filter(|index| prefixes.len() == 1 || tables::comes_by(*index) == port)
        .partition(|index| prefixes[*index].as_bytes().len() <= room);
    if usable.is_empty() {
        bail!("no name fits into the frame: at most {room} bytes do; --frame must be larger");
    }
    let mut prng = Prng::new(1, port as u64);
    let ranks = match traffic {
        Traffic::Uniform => Vec::new(),
        Traffic::Zipf => cumulated(usable.len()),
    };
    // Ranks must not follow the order in which prefixes were made: neighbours there share memory.
    let mut order = usable;
    for at in (1..order.len()).rev() {
        order.swap(at, prng.below(at + 1));
    }
    let mut heads = Vec::with_capacity(count);
    for _ in 0..count {
        let rank = match traffic {
            Traffic::Uniform => prng.below(order.len()),
            Traffic::Zipf => {
                let at = prng.bits() as f64 / u64::MAX as f64 * ranks[ranks.len() - 1];
                ranks.partition_point(|sum| *sum < at).min(order.len() - 1)
            }
        };
        let index = order[rank];
        let gateway = if stamped {
            tables::gateway(index, prng.bits() as usize)
        } else {
            NodeId::NONE
        };
        let flow = FlowLabel(prng.bits() as u32);
        heads.push(head(
            prefixes[index].as_name(),
            caller.as_name(),
            gateway,
            flow,
            total,
        )?);
    }
    Ok(Drawn {
        heads,
        too_long: too_long.len(),
    })
}

fn head(
    to: Name<'_>,
    from: Name<'_>,
    gateway: NodeId,
    flow: FlowLabel,
    total: usize,
) -> anyhow::Result<Head> {
    let builder = PacketBuilder::new(Kind::Request)
        .destination(to)
        .source(from)
        .domain(tables::DOMAIN)
        .source_gateway(NodeId(9))
        .destination_gateway(gateway)
        .flow_label(flow);
    let payload = total - builder.header_len();
    let mut bytes = [0; HEAD + 1024];
    builder.write_header(payload, &mut bytes)?;
    let mut head = Head([0; HEAD]);
    head.0.copy_from_slice(&bytes[..HEAD]);
    Ok(head)
}

/// Sums of 1/rank (Zipf, exponent 1).
fn cumulated(count: usize) -> Vec<f64> {
    let mut sum = 0.0;
    (1..=count)
        .map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_prefixes_are_different_and_of_the_right_size() {
        let names: std::collections::HashSet<NameBuf> = (0..100_000).map(made).collect();
        assert_eq!(names.len(), 100_000);
        let mean = |f: fn(&NameBuf) -> usize| {
            names.iter().map(f).sum::<usize>() as f64 / names.len() as f64
        };
        let bytes = mean(|n| n.as_bytes().len());
        let components = mean(|n| n.as_name().component_count());
        assert!((36.0..44.0).contains(&bytes), "{bytes} bytes");
        assert!((3.4..3.8).contains(&components), "{components} components");
    }

    #[test]
    fn only_names_that_do_not_fit_are_too_long() {
        for count in [1, 2, 3, 1_001] {
            let mut names = prefixes(count, None).expect("made");
            let too_long = |names: &[NameBuf]| -> usize {
                let one = |port| draw(names, port, 1, 192, Traffic::Uniform, true);
                [0, 1]
                    .into_iter()
                    .filter_map(|port| one(port).ok())
                    .map(|drawn| drawn.too_long)
                    .sum()
            };
            assert_eq!(too_long(&names), 0, "of {count}");
            if count > 2 {
                names[0] = NameBuf::from_components([[b'x'; 200]]).expect("a name");
                assert_eq!(too_long(&names), 1, "of {count}");
            }
        }
    }

    #[test]
    fn drawn_packets_are_valid_and_lead_out_of_the_other_port() {
        let prefixes = prefixes(1000, None).expect("made");
        for (port, stamped) in [(0, true), (1, false)] {
            let drawn = draw(&prefixes, port, 500, 150, Traffic::Zipf, stamped).expect("drawn");
            assert_eq!((drawn.heads.len(), drawn.too_long), (500, 0));
            for head in &drawn.heads {
                let mut packet = head.0.to_vec();
                packet.resize(150, 0);
                let header = dmsc_wire::parse(&packet).expect("valid");
                assert_eq!(header.total_len(), 150);
                assert_eq!(header.destination_gateway.is_some(), stamped);
            }
        }
        assert!(draw(&prefixes, 0, 1, 64, Traffic::Uniform, true).is_err());
    }
}
