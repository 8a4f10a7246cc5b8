//! Devices in DPDK's words: the bus, the name and the argument string of each kind.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::device::{Device, MemifRole};

/// A text that cannot be part of a device's arguments.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct BadField {
    pub field: &'static str,
    pub value: String,
    pub wanted: &'static str,
}

/// What DPDK's hotplug wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Plug {
    pub bus: &'static str,
    pub name: String,
    pub args: String,
}

/// Bytes of a packet socket's frame before the packet when sending (`TPACKET2_HDRLEN − sizeof(sockaddr_ll)`).
/// The driver takes the rest of a frame as the largest packet.
const FRAME_TX_HEADER: u32 = 32;
/// The same when receiving: header, address, alignment, with the Ethernet and a VLAN header.
const FRAME_RX_HEADER: u32 = 66 + 18;
const PAGE: u32 = 4096;

/// Rings made so far: their devices are numbered.
static RINGS: AtomicU32 = AtomicU32::new(0);

impl Device {
    /// Bus, name and arguments of the device of the port `name`.
    pub(crate) fn plug(&self, name: &str) -> Result<Plug, BadField> {
        let bus = if matches!(self, Self::Pci { .. }) {
            "pci"
        } else {
            "vdev"
        };
        Ok(Plug {
            bus,
            name: self.dev_name(name)?,
            args: self.dev_args()?.join(","),
        })
    }

    fn dev_name(&self, name: &str) -> Result<String, BadField> {
        Ok(match self {
            Self::Pci { address, .. } => text("address", address)?.into(),
            // The driver puts the name into those of its rings, which hold 9 bytes of it.
            Self::Ring => format!("net_ring_{}", RINGS.fetch_add(1, Ordering::Relaxed)),
            // Drivers of vdevs are found by the beginning of the name.
            _ => format!("net_{}_{name}", self.kind().replace('-', "_")),
        })
    }

    fn dev_args(&self) -> Result<Vec<String>, BadField> {
        let mut args = Vec::new();
        let mut add =
            |key: &str, value: &dyn std::fmt::Display| args.push(format!("{key}={value}"));
        match self {
            Self::AfPacket {
                iface,
                queues,
                mtu,
                frames,
                qdisc_bypass,
            } => {
                let size = frame_size(*mtu);
                let block = block_size(size);
                let per_block = block / size;
                let frames = match frames {
                    0 if size <= 2048 => 512,
                    0 => 256,
                    n => n.next_multiple_of(per_block),
                };
                add("iface", &text("iface", iface)?);
                add("qpairs", &at_least_one("queues", *queues)?);
                add("blocksz", &block);
                add("framesz", &size);
                add("framecnt", &frames);
                add("qdisc_bypass", &u8::from(*qdisc_bypass));
            }
            Self::AfXdp {
                iface,
                start_queue,
                queues,
                force_copy,
            } => {
                add("iface", &text("iface", iface)?);
                add("start_queue", start_queue);
                add("queue_count", &at_least_one("queues", *queues)?);
                if *force_copy {
                    add("force_copy", &1);
                }
            }
            Self::Tap { iface, mac } => {
                add("iface", &text("iface", iface)?);
                if let Some(mac) = mac {
                    add("mac", mac);
                }
            }
            Self::Memif {
                role,
                socket,
                id,
                ring_size_log2,
                buffer_size,
                mac,
                zero_copy,
            } => {
                add(
                    "role",
                    &if *role == MemifRole::Server {
                        "server"
                    } else {
                        "client"
                    },
                );
                add("id", id);
                match text("socket", socket)?.strip_prefix('@') {
                    Some(name) => {
                        add("socket", &name);
                        add("socket-abstract", &"yes");
                    }
                    None => {
                        add("socket", socket);
                        add("socket-abstract", &"no");
                    }
                }
                add("rsize", ring_size_log2);
                add("bsize", buffer_size);
                if let Some(mac) = mac {
                    add("mac", mac);
                }
                if *zero_copy {
                    add("zero-copy", &"yes");
                }
            }
            Self::VirtioUser {
                path,
                queues,
                queue_size,
                server,
                mac,
            } => {
                add("path", &text("path", path)?);
                add("queues", &at_least_one("queues", *queues)?);
                add(
                    "queue_size",
                    &if *queue_size == 0 { 256 } else { *queue_size },
                );
                if *server {
                    add("server", &1);
                }
                if let Some(mac) = mac {
                    add("mac", mac);
                }
            }
            Self::Vhost {
                path,
                queues,
                client,
            } => {
                add("iface", &text("path", path)?);
                add("queues", &at_least_one("queues", *queues)?);
                if *client {
                    add("client", &1);
                }
            }
            Self::Null { size, copy, no_rx } => {
                add("size", &at_least_one("size", *size)?);
                add("copy", &u8::from(*copy));
                // The driver takes either size and copy, or no-rx.
                if *no_rx {
                    args = vec!["no-rx=1".into()];
                }
            }
            Self::Ring => {}
            Self::Pcap {
                rx,
                tx,
                iface,
                infinite_rx,
            } => {
                if let Some(rx) = rx {
                    add("rx_pcap", &text("rx", rx)?);
                }
                if let Some(tx) = tx {
                    add("tx_pcap", &text("tx", tx)?);
                }
                if let Some(iface) = iface {
                    add("iface", &text("iface", iface)?);
                }
                if *infinite_rx {
                    add("infinite_rx", &1);
                }
            }
            Self::Pci { args: driver, .. } => {
                if driver.contains('\0') {
                    return Err(BadField {
                        field: "args",
                        value: driver.clone(),
                        wanted: "no NUL byte",
                    });
                }
                if !driver.is_empty() {
                    args.push(driver.clone());
                }
            }
        }
        Ok(args)
    }
}

/// Bytes that the af_packet driver wants in an mbuf.
pub(crate) fn af_packet_room(mtu: u16) -> u16 {
    u16::try_from(frame_size(mtu) - FRAME_TX_HEADER).unwrap_or(u16::MAX)
}

/// Bytes of one frame of the packet socket's rings.
///
/// Multiples of 2 KiB, so that one or two of them are whole pages: the driver takes frames as one array, which holds
/// only if a block has no rest.
fn frame_size(mtu: u16) -> u32 {
    (u32::from(mtu) + FRAME_RX_HEADER).next_multiple_of(2048)
}

fn block_size(frame: u32) -> u32 {
    if frame.is_multiple_of(PAGE) {
        frame
    } else {
        2 * frame
    }
}

fn at_least_one(field: &'static str, n: u16) -> Result<u16, BadField> {
    if n == 0 {
        return Err(BadField {
            field,
            value: "0".into(),
            wanted: "1 or more",
        });
    }
    Ok(n)
}

/// A text that DPDK's argument parser takes as one value.
fn text<'a>(field: &'static str, value: &'a str) -> Result<&'a str, BadField> {
    let wanted = "a text without comma, brackets, quotes, spaces and control characters";
    let bad = |c: char| c.is_whitespace() || c.is_control() || ",[]()\"'=".contains(c);
    if value.is_empty() || value.contains(bad) {
        return Err(BadField {
            field,
            value: value.into(),
            wanted,
        });
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mac::MacAddr;

    fn line(device: &Device) -> String {
        let plug = device.plug("p0").unwrap();
        format!("{} {} {}", plug.bus, plug.name, plug.args)
    }

    #[test]
    fn devices_are_named_as_dpdk_names_them() {
        let mac = Some(MacAddr([2, 0, 0, 0, 0, 1]));
        let cases = [
            (
                Device::af_packet("veth0"),
                "vdev net_af_packet_p0 iface=veth0,qpairs=1,blocksz=4096,framesz=2048,framecnt=512,qdisc_bypass=0",
            ),
            (
                Device::AfPacket {
                    iface: "eth1".into(),
                    queues: 2,
                    mtu: 9000,
                    frames: 255,
                    qdisc_bypass: true,
                },
                "vdev net_af_packet_p0 iface=eth1,qpairs=2,blocksz=20480,framesz=10240,framecnt=256,qdisc_bypass=1",
            ),
            (
                Device::AfXdp {
                    iface: "eth1".into(),
                    start_queue: 2,
                    queues: 1,
                    force_copy: true,
                },
                "vdev net_af_xdp_p0 iface=eth1,start_queue=2,queue_count=1,force_copy=1",
            ),
            (
                Device::Tap {
                    iface: "tap0".into(),
                    mac,
                },
                "vdev net_tap_p0 iface=tap0,mac=02:00:00:00:00:01",
            ),
            (
                Device::Memif {
                    role: MemifRole::Client,
                    socket: "/run/m.sock".into(),
                    id: 7,
                    ring_size_log2: 10,
                    buffer_size: 2048,
                    mac: None,
                    zero_copy: true,
                },
                "vdev net_memif_p0 role=client,id=7,socket=/run/m.sock,socket-abstract=no,rsize=10,bsize=2048,zero-copy=yes",
            ),
            (
                Device::VirtioUser {
                    path: "/run/v".into(),
                    queues: 1,
                    queue_size: 0,
                    server: true,
                    mac,
                },
                "vdev net_virtio_user_p0 path=/run/v,queues=1,queue_size=256,server=1,mac=02:00:00:00:00:01",
            ),
            (
                Device::Vhost {
                    path: "/run/v".into(),
                    queues: 1,
                    client: true,
                },
                "vdev net_vhost_p0 iface=/run/v,queues=1,client=1",
            ),
            (
                Device::Null {
                    size: 192,
                    copy: true,
                    no_rx: false,
                },
                "vdev net_null_p0 size=192,copy=1",
            ),
            (Device::sink(), "vdev net_null_p0 no-rx=1"),
            (Device::Ring, "vdev net_ring_0 "),
            (
                Device::Pcap {
                    rx: Some("a.pcap".into()),
                    tx: Some("b.pcap".into()),
                    iface: None,
                    infinite_rx: true,
                },
                "vdev net_pcap_p0 rx_pcap=a.pcap,tx_pcap=b.pcap,infinite_rx=1",
            ),
            (
                Device::Pci {
                    address: "0000:00:04.0".into(),
                    args: String::new(),
                },
                "pci 0000:00:04.0 ",
            ),
        ];
        for (device, expected) in cases {
            assert_eq!(line(&device), expected);
        }
    }

    #[test]
    fn an_abstract_memif_socket_is_one() {
        let device = Device::Memif {
            role: MemifRole::Server,
            socket: "@m".into(),
            id: 0,
            ring_size_log2: 10,
            buffer_size: 2048,
            mac: None,
            zero_copy: false,
        };
        assert!(
            line(&device).contains("socket=m,socket-abstract=yes"),
            "{}",
            line(&device)
        );
    }

    #[test]
    fn a_text_cannot_smuggle_in_an_argument() {
        for bad in ["", "veth0,qpairs=9", "a b", "a\0b", "a=b", "[x]"] {
            let error = Device::af_packet(bad).plug("p0").unwrap_err();
            assert_eq!(error.field, "iface");
        }
        let none = Device::Vhost {
            path: "/x".into(),
            queues: 0,
            client: false,
        };
        assert_eq!(none.plug("p0").unwrap_err().field, "queues");
    }

    #[test]
    fn frames_hold_the_mtu_and_blocks_are_whole_pages() {
        for mtu in (64..=u16::MAX).step_by(13) {
            let frame = frame_size(mtu);
            let block = block_size(frame);
            assert!(frame >= u32::from(mtu) + FRAME_RX_HEADER);
            assert!(block.is_multiple_of(PAGE) && block.is_multiple_of(frame));
        }
        assert_eq!(Device::af_packet("x").min_data_room(1500), 2016);
    }
}
