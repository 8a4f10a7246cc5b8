//! `show attachments`: the endpoints of pods that are registered at this gateway.

use dmsc_proto::v1::{Attachment, DumpRequest};
use serde::Serialize;

use crate::agent::Agent;
use crate::failure::Failure;
use crate::output::{Grid, Output};
use crate::text::{joined, name, or_dash};

/// JSON of `show attachments`.
#[derive(Debug, Serialize)]
pub struct AttachmentsView {
    attachments: Vec<AttachmentView>,
}

/// One attachment in JSON; also in the events of `watch`.
#[derive(Debug, Serialize)]
pub struct AttachmentView {
    id: u32,
    port: String,
    address: String,
    udp_port: u32,
    domain: u32,
    identity: String,
    /// "up", "unreachable" or "unresolved".
    pub state: String,
    /// "answered" or "silent": its gateway answers for it; `null`: not known yet.
    probes: Option<String>,
    class_limit: u32,
    generation: u64,
    serves: Vec<String>,
    owns: Vec<String>,
}

impl From<Attachment> for AttachmentView {
    fn from(attachment: Attachment) -> Self {
        let names = |list: &[Vec<u8>]| list.iter().map(|bytes| name(bytes)).collect();
        Self {
            serves: names(&attachment.serves),
            owns: names(&attachment.owns),
            id: attachment.id,
            port: attachment.port,
            address: attachment.address,
            udp_port: attachment.udp_port,
            domain: attachment.domain,
            identity: attachment.identity,
            state: attachment.state,
            probes: Some(attachment.probes).filter(|word| !word.is_empty()),
            class_limit: attachment.class_limit,
            generation: attachment.generation,
        }
    }
}

impl AttachmentView {
    /// "attachment 3 (pod1/a)", for sentences.
    pub fn title(&self) -> String {
        format!("attachment {} ({})", self.id, self.identity)
    }

    /// Address and UDP port; a pod on bare Ethernet has only a MAC address.
    fn endpoint(&self) -> String {
        match self.udp_port {
            0 => self.address.clone(),
            port if self.address.contains(':') => format!("[{}]:{port}", self.address),
            port => format!("{}:{port}", self.address),
        }
    }
}

/// Asks and prints.
///
/// # Errors
/// When the agent refuses or the output cannot be written.
pub async fn run(agent: &mut Agent, output: &mut Output) -> Result<(), Failure> {
    let reply = agent.client.dump(DumpRequest { prefixes: false }).await?;
    let mut attachments = reply.into_inner().attachments;
    attachments.sort_by_key(|attachment| attachment.id);
    let view = AttachmentsView {
        attachments: attachments.into_iter().map(AttachmentView::from).collect(),
    };
    if output.is_json() {
        output.document(&view)?;
    } else {
        output.table(&grid(&view), "no pod is registered here")?;
    }
    Ok(())
}

fn grid(view: &AttachmentsView) -> Grid {
    let mut grid = Grid::new(&[
        ">id", "port", "endpoint", ">domain", "identity", "state", "probes", "serves", "owns",
    ]);
    for attachment in &view.attachments {
        grid.row([
            attachment.id.to_string(),
            attachment.port.clone(),
            attachment.endpoint(),
            attachment.domain.to_string(),
            or_dash(&attachment.identity),
            or_dash(&attachment.state),
            or_dash(attachment.probes.as_deref().unwrap_or_default()),
            some(&attachment.serves),
            some(&attachment.owns),
        ]);
    }
    grid
}

/// The first few names of a list that may hold thousands; JSON has them all.
fn some(names: &[String]) -> String {
    const SHOWN: usize = 4;
    match names.len().checked_sub(SHOWN) {
        Some(more @ 1..) => format!("{} and {more} more", joined(&names[..SHOWN])),
        _ => joined(names),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_and_long_lists() {
        let mut view = AttachmentView::from(Attachment {
            id: 3,
            address: "10.1.1.2".to_owned(),
            udp_port: 4000,
            serves: vec![b"\x04shop\x01b".to_vec()],
            ..Attachment::default()
        });
        assert_eq!(view.endpoint(), "10.1.1.2:4000");
        assert_eq!(view.serves, ["/shop/b"]);
        view.address = "fd00::2".to_owned();
        assert_eq!(view.endpoint(), "[fd00::2]:4000");
        view.udp_port = 0;
        view.address = "02:00:00:00:00:01".to_owned();
        assert_eq!(view.endpoint(), "02:00:00:00:00:01");

        let names: Vec<String> = (0..6).map(|n| format!("/{n}")).collect();
        assert_eq!(some(&names), "/0,/1,/2,/3 and 2 more");
        assert_eq!(some(&names[..4]), "/0,/1,/2,/3");
        assert_eq!(some(&[]), "-");
    }
}
