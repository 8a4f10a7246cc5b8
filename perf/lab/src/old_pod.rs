//! A pod of before there were probes, for the demo: it registers as every pod does, answers calls and echoes, and drops whatever else comes, unread.

use std::path::PathBuf;

use anyhow::{Context, bail};
use dmsc_pod::{GatewayAddress, PodConfig, Registered, Session};
use dmsc_wire::{EchoSource, Kind, NameBuf, PacketBuilder, build_echo_reply};
use tokio::net::UdpSocket;
use tokio::signal::unix::{SignalKind, signal};

/// Largest packet that a UDP socket hands out, bytes.
const MAX_PACKET: usize = 65_536;

/// Who it is, and where.
#[derive(Debug, Clone)]
pub struct OldPod {
    /// Its gateway's registrar.
    pub gateway: GatewayAddress,
    /// Who it is; also what it says in its answers.
    pub identity: String,
    /// Folder.
    pub credentials: PathBuf,
    /// What it answers under.
    pub name: NameBuf,
}

/// Registers, says that it serves, and answers until it is asked to end; then it withdraws.
///
/// # Errors
/// When the gateway is away or refuses the name, or the socket fails.
pub async fn run(pod: &OldPod) -> anyhow::Result<()> {
    // Before anybody is told that it serves: who reads that may send the signal at once.
    let mut terminate = signal(SignalKind::terminate())?;
    let registrar = pod.gateway.resolve().await?;
    let socket = UdpSocket::bind(("0.0.0.0", 0)).await?;
    let mut config = PodConfig::new(pod.gateway.clone(), pod.identity.clone());
    config.credentials = Some(pod.credentials.clone());
    config.prefixes = vec![pod.name.clone()];
    let port = socket.local_addr()?.port();
    let session = Session::open(config, registrar, port).await?;
    let registered = session.registered();
    if registered.serves.is_empty() {
        let why = registered.refused.first().map(|one| one.reason.as_str());
        bail!("{} was refused: {}", pod.name, why.unwrap_or("no reason"));
    }
    println!("serving {} as {}", pod.name, pod.identity);
    let mut packet = vec![0; MAX_PACKET];
    loop {
        let came = tokio::select! {
            came = socket.recv_from(&mut packet) => came,
            _ = terminate.recv() => break,
        };
        let (length, from) = came.context("the socket fails")?;
        // Under another attachment after a new registration.
        if let Some(answer) = answer(pod, &session.registered(), &packet[..length]) {
            socket.send_to(&answer, from).await?;
        }
    }
    Ok(session.close().await?)
}

/// What it answers to a packet; what it knows nothing of is nothing to it.
fn answer(pod: &OldPod, registered: &Registered, packet: &[u8]) -> Option<Vec<u8>> {
    let header = dmsc_wire::parse(packet).ok()?;
    let called = header.destination_name(packet)?;
    if !registered.covers(called) {
        return None;
    }
    match header.kind {
        // As `dmsc-pod serve`: who answers, a zero byte, and what was asked.
        Kind::Request => {
            let said = [pod.identity.as_bytes(), &[0], header.payload(packet)].concat();
            let response = PacketBuilder::reply_to(Kind::Response, packet, &header)
                .source_gateway(registered.gateway)
                .source_attachment(registered.attachment)
                .payload(&said);
            response.to_vec().ok()
        }
        Kind::EchoRequest => {
            let own = EchoSource {
                gateway: registered.gateway,
                attachment: registered.attachment,
                name: None,
            };
            let mut reply = vec![0; header.total_len()];
            let length = build_echo_reply(packet, &header, own, &mut reply).ok()?;
            reply.truncate(length);
            Some(reply)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Arc;
    use std::time::Duration;

    use dmsc_pod::session::LeaseId;
    use dmsc_wire::{AttachmentId, Domain, NodeId, Probe};

    use super::*;

    fn name(text: &str) -> NameBuf {
        NameBuf::parse(text).unwrap()
    }

    fn registered() -> Registered {
        Registered {
            lease: LeaseId(1),
            refresh: Duration::from_secs(10),
            gateway: NodeId(3),
            attachment: AttachmentId(7),
            domain: Domain(1),
            source_name: name("/id/pod3/old"),
            data: "10.3.1.1:4790".parse().unwrap(),
            shared: None,
            max_packet: 1_400,
            serves: Arc::new(HashSet::from([name("/shop/old")])),
            refused: Arc::new([]),
            waiting: Arc::new([]),
        }
    }

    #[test]
    fn calls_and_echoes_are_answered_and_probes_are_not() {
        let pod = OldPod {
            gateway: "10.3.1.1".parse().unwrap(),
            identity: "pod3/old".into(),
            credentials: PathBuf::new(),
            name: name("/shop/old"),
        };
        let packet = |kind: Kind, to: &str, payload: &[u8]| {
            let (from, to) = (name("/id/pod1/a"), name(to));
            PacketBuilder::new(kind)
                .source(from.as_name())
                .destination(to.as_name())
                .payload(payload)
                .to_vec()
                .unwrap()
        };
        let answered = |kind, to: &str, payload: &[u8]| {
            let packet = answer(&pod, &registered(), &packet(kind, to, payload))?;
            let header = dmsc_wire::parse(&packet).unwrap();
            assert_eq!(header.source_attachment, AttachmentId(7));
            Some((header.kind, header.payload(&packet).to_vec()))
        };
        assert_eq!(
            answered(Kind::Request, "/shop/old/x", b"hello"),
            Some((Kind::Response, b"pod3/old\0hello".to_vec()))
        );
        assert_eq!(
            answered(Kind::EchoRequest, "/id/pod3/old", b"echo"),
            Some((Kind::EchoReply, b"echo".to_vec()))
        );
        let question = Probe::default().payload();
        assert_eq!(answered(Kind::Probe, "/shop/old", &question), None);
        assert_eq!(answered(Kind::Request, "/shop/other", b""), None);
        assert_eq!(answer(&pod, &registered(), b"garbage"), None);
    }
}
