//! Gives addresses to a kernel interface and takes them away, each in one rtnetlink message (rtnetlink(7)) and with its answer.
//!
//! Spoken here and not left to a library because of two details: an address in a /31 must have no broadcast address, which would be
//! its neighbour's (RFC 3021), and IPv6 no duplicate address detection, because the dataplane answers for the address already.

use std::net::IpAddr;
use std::os::fd::AsRawFd;

use ipnet::IpNet;
use nix::errno::Errno;
use nix::ifaddrs::InterfaceAddress;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, SockaddrStorage,
    connect, recv, send, socket,
};

/// `RTM_NEWADDR`.
const NEW_ADDRESS: u16 = 20;
/// `RTM_DELADDR`.
const DELETE_ADDRESS: u16 = 21;
/// `NLM_F_REQUEST | NLM_F_ACK | NLM_F_REPLACE | NLM_F_CREATE`; the last two mean nothing in a deletion.
const FLAGS: u16 = 0x1 | 0x4 | 0x100 | 0x400;
/// `NLMSG_ERROR`, which is also the acknowledgement.
const ANSWER: u16 = 2;
/// `IFA_ADDRESS` and `IFA_LOCAL`.
const ATTRIBUTES: [u16; 2] = [1, 2];
/// `IFA_F_NODAD`.
const NO_DETECTION: u8 = 2;

/// Adds `net` to `interface`, usable at once; an address that it has already is no error.
///
/// # Errors
/// What the kernel says: no such interface, no permission, IPv6 switched off.
pub fn add(interface: &str, net: IpNet) -> nix::Result<()> {
    ask(&message(NEW_ADDRESS, if_nametoindex(interface)?, net))
}

/// Takes `net` from `interface`.
///
/// # Errors
/// What the kernel says: no such interface or address, no permission.
pub fn remove(interface: &str, net: IpNet) -> nix::Result<()> {
    ask(&message(DELETE_ADDRESS, if_nametoindex(interface)?, net))
}

/// The addresses of `interface`, without those that the kernel makes itself.
///
/// # Errors
/// When the kernel does not list them.
pub fn list(interface: &str) -> nix::Result<Vec<IpNet>> {
    let entries = nix::ifaddrs::getifaddrs()?.filter(|entry| entry.interface_name == interface);
    let net = |entry: InterfaceAddress| {
        let (address, mask) = (ip(entry.address?)?, ip(entry.netmask?)?);
        let kernels = matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
        IpNet::with_netmask(address, mask).ok().filter(|_| !kernels)
    };
    Ok(entries.filter_map(net).collect())
}

fn ip(address: SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| v4.ip().into());
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| v6.ip().into()))
}

fn ask(message: &[u8]) -> nix::Result<()> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    connect(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    send(socket.as_raw_fd(), message, MsgFlags::empty())?;
    let mut answer = [0; 1024];
    let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    match verdict(&answer[..length]) {
        Some(0) => Ok(()),
        Some(error) => Err(Errno::from_raw(-error)),
        None => Err(Errno::EPROTO),
    }
}

fn message(kind: u16, index: u32, net: IpNet) -> Vec<u8> {
    let (family, flags, address) = match net.addr() {
        IpAddr::V4(address) => (2, 0, address.octets().to_vec()),
        IpAddr::V6(address) => (10, NO_DETECTION, address.octets().to_vec()),
    };
    let mut message = Vec::new();
    message.extend(0_u32.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(FLAGS.to_ne_bytes());
    message.extend([0; 8]); // sequence and sender: one question on a socket of its own
    message.extend([family, net.prefix_len(), flags, 0]);
    message.extend(index.to_ne_bytes());
    for attribute in ATTRIBUTES {
        message.extend((4 + address.len() as u16).to_ne_bytes());
        message.extend(attribute.to_ne_bytes());
        message.extend(&address);
    }
    let length = message.len() as u32;
    message[..4].copy_from_slice(&length.to_ne_bytes());
    message
}

/// The error number of an answer, negative as the kernel writes it, 0 for "done".
fn verdict(answer: &[u8]) -> Option<i32> {
    let kind = u16::from_ne_bytes(*answer.get(4..)?.first_chunk()?);
    let error = i32::from_ne_bytes(*answer.get(16..)?.first_chunk()?);
    (kind == ANSWER).then_some(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_as_long_as_it_says() {
        for (net, length) in [("10.0.0.1/31", 40), ("fd00::1/64", 64)] {
            let message = message(NEW_ADDRESS, 3, net.parse().expect("net"));
            assert_eq!(message.len(), length);
            assert_eq!(message[..4], (length as u32).to_ne_bytes());
        }
    }

    #[test]
    fn the_kernel_says_why_not() {
        let net = "10.0.0.1/31".parse().expect("net");
        assert_eq!(add("no-such-if", net), Err(Errno::ENODEV));
        assert_eq!(verdict(&[0; 10]), None);
    }
}
