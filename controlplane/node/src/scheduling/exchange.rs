//! The stream to one scheduling center: opened again and again, telemetry up, policies down and acknowledged.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dmsc_proto::v1::{
    self, center_message::Message as Down, gateway_message::Message as Up,
    scheduling_client::SchedulingClient,
};
use dmsc_proto::{SCHEDULING_MESSAGE, SCHEDULING_VERSIONS};
use dmsc_scsc::statement::{MAX_STATEMENT, SignedPolicy};
use dmsc_scsc::stream::Encoder;
use dmsc_spa::pki::CENTER_DNS;
use dmsc_spa::statement::sha256;
use dmsc_spa::verify::{Certificate, RootKey};
use prost::Message as _;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;
use tracing::{info, warn};

use super::center::Center;
use super::entered::{Counted, Entered, Key, row};
use super::telling::Telling;
use crate::SOFTWARE;
use crate::clock::wall;
use crate::handle::Handle;
use crate::node::policies::{Effect, believed};
use crate::peer::shown::Shown;
use crate::rib::policies::Choice;
use crate::scsc::service::MAX_PREFIXES;
use crate::tls::Tls;

/// For a connection with TLS, and for hellos.
const PATIENCE: Duration = Duration::from_secs(4);
/// Between two attempts, at first and at most.
const AGAIN: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(2));
/// Largest message in either direction, bytes.
const MAX_MESSAGE: usize = SCHEDULING_MESSAGE;
/// Bytes about groups in one second's telemetry; what has no room comes with the next.
const MAX_ROWS: usize = 256 << 10;
/// Bytes around one of them.
const ROW_FRAME: usize = 4;
/// Policies that wait for the dataplane; a center that sends more of them waits.
const MAX_WAITING: usize = 1_024;

type Inbound = tonic::Streaming<v1::CenterMessage>;
type Outbound = mpsc::Sender<v1::GatewayMessage>;

/// Which policy: id, epoch, replica; and what became of it.
type Done = ((u64, u64, u32), Effect);

/// Never ends by itself.
pub(super) async fn talk(handle: Handle, tls: Tls, root: RootKey, center: Arc<Center>) {
    let mut pause = AGAIN.0;
    let mut told = String::new();
    loop {
        let address = center.address;
        // From before the certificate is looked at, so that nothing that the root takes back is missed.
        let revoked = handle.query(|node| node.signals.revoked.subscribe());
        let Some(revoked) = revoked.await else {
            return;
        };
        let why = match timeout(PATIENCE, open(&handle, &tls, &root, &center)).await {
            Err(_) => "it does not answer in time".to_owned(),
            Ok(Err(why)) => why,
            Ok(Ok((certificate, hello, inbound, outbound))) => {
                let (replica, epoch) = (hello.replica, hello.epoch);
                info!(%address, replica, epoch, "scheduling center answers");
                let since = Instant::now();
                let stream = Stream::new(&handle, &root, &center, outbound);
                let why = tokio::select! {
                    why = stream.run(inbound) => why,
                    why = taken_back(&root, &certificate, revoked) => why,
                };
                told.clear();
                if since.elapsed() > AGAIN.1 {
                    pause = AGAIN.0;
                }
                why
            }
        };
        // Once, not at every attempt.
        if why != told {
            warn!(%address, "no scheduling center: {why}; what is in force holds until it is over");
            told = why;
        }
        sleep(pause).await;
        pause = (pause * 2).min(AGAIN.1);
    }
}

/// Ready when the root took the center's certificate back: not even what it has already said is heard then.
async fn taken_back(
    root: &RootKey,
    certificate: &Certificate,
    mut revoked: watch::Receiver<usize>,
) -> String {
    while revoked.changed().await.is_ok() {
        if root.has_revoked(certificate) {
            return "its certificate was revoked by the root".to_owned();
        }
    }
    "this control plane is ending".to_owned()
}

/// The innermost cause: the outer ones say "transport error".
fn cause(error: &dyn Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

async fn open(
    handle: &Handle,
    tls: &Tls,
    root: &RootKey,
    center: &Center,
) -> Result<(Certificate, v1::CenterHello, Inbound, Outbound), String> {
    let shown = Shown::new(tls.root_der())?;
    let endpoint = Endpoint::from_shared(format!("https://{}", center.address))
        .and_then(|endpoint| {
            let client = tls.client_with_verifier(CENTER_DNS);
            endpoint.tls_config_with_verifier(client, Arc::clone(&shown) as _)
        })
        .map_err(|error| cause(&error))?
        .connect_timeout(PATIENCE)
        .http2_keep_alive_interval(Duration::from_secs(5))
        .keep_alive_timeout(PATIENCE)
        .tcp_nodelay(true);
    let channel = endpoint.connect().await.map_err(|error| cause(&error))?;
    // TLS has checked the name; that it is a center's, and not taken back, is in the certificate.
    let der = shown.certificate().unwrap_or_default();
    let certificate = root
        .center_certificate(der, wall().as_secs())
        .map_err(|error| format!("its certificate is not taken: {error}"))?;
    let mut client = SchedulingClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(2 * MAX_MESSAGE);
    let (outbound, messages) = mpsc::channel(2);
    let hello = handle.query(|node| own_hello(node));
    let hello = hello.await.ok_or("this control plane is ending")?;
    // The channel is empty, so there is a place.
    let _ = outbound.try_send(up(Up::Hello(hello)));
    let reply = client.exchange(ReceiverStream::new(messages)).await;
    let mut inbound = reply
        .map_err(|status| status.message().to_owned())?
        .into_inner();
    let first = inbound
        .message()
        .await
        .map_err(|status| status.message().to_owned())?;
    match first.and_then(|first| first.message) {
        Some(Down::Hello(hello)) => {
            let (low, high) = SCHEDULING_VERSIONS;
            if !(low..=high).contains(&hello.version) {
                return Err(format!(
                    "it speaks version {} of the exchange, this gateway {low} to {high}; upgrade the older of the two",
                    hello.version
                ));
            }
            Ok((certificate, hello, inbound, outbound))
        }
        _ => Err("its first message is no hello".to_owned()),
    }
}

fn own_hello(node: &crate::node::Node) -> v1::GatewayHello {
    let now = node.clock.now().mono;
    let held = node.rib.policies().iter().take(1_024);
    let held = held.map(|(policy, until)| v1::HeldPolicy {
        statement_sha256: sha256(&policy.to_statement()).to_vec(),
        left_ms: u32::try_from(until.saturating_sub(now).as_millis()).unwrap_or(u32::MAX),
    });
    v1::GatewayHello {
        version_min: SCHEDULING_VERSIONS.0,
        version_max: SCHEDULING_VERSIONS.1,
        node: node.config.node.id.0,
        area: node.config.node.area,
        software: SOFTWARE.into(),
        held: held.collect(),
    }
}

fn up(message: Up) -> v1::GatewayMessage {
    v1::GatewayMessage {
        message: Some(message),
    }
}

/// One stream that is open.
struct Stream<'a> {
    handle: &'a Handle,
    root: &'a RootKey,
    center: &'a Center,
    outbound: Outbound,
    encoder: Encoder,
    /// The last second told over this stream.
    told: u64,
    /// Groups as they were told over this stream.
    rows: BTreeMap<Key, Choice>,
    /// Of these, those that had traffic when they were told last: when it ends that is told, too.
    flowing: BTreeSet<Key>,
    services: Telling,
    waiting: JoinSet<Done>,
    acks: VecDeque<v1::PolicyAck>,
}

impl<'a> Stream<'a> {
    fn new(handle: &'a Handle, root: &'a RootKey, center: &'a Center, outbound: Outbound) -> Self {
        Self {
            handle,
            root,
            center,
            outbound,
            encoder: Encoder::new(),
            told: 0,
            rows: BTreeMap::new(),
            flowing: BTreeSet::new(),
            services: Telling::default(),
            waiting: JoinSet::new(),
            acks: VecDeque::new(),
        }
    }

    /// Until it breaks; says why it did.
    async fn run(mut self, mut inbound: Inbound) -> String {
        loop {
            let outbound = self.outbound.clone();
            let due = !self.acks.is_empty() || self.is_news();
            let listen = self.waiting.len() + self.acks.len() < MAX_WAITING;
            tokio::select! {
                message = inbound.message(), if listen => match message {
                    Ok(Some(message)) => {
                        if !self.hear(message).await {
                            return "this control plane is ending".to_owned();
                        }
                    }
                    Ok(None) => return "it ended the stream".to_owned(),
                    Err(status) => return status.message().to_owned(),
                },
                Some(done) = self.waiting.join_next(), if !self.waiting.is_empty() => {
                    self.acks.extend(done.ok().map(ack));
                }
                // A center that is slow makes only this stream wait.
                place = outbound.reserve(), if due => match place {
                    Ok(place) => {
                        if let Some(message) = self.next() {
                            place.send(up(message));
                        }
                    }
                    Err(_) => return "it ended the stream".to_owned(),
                },
                () = self.center.news.notified() => {}
            }
        }
    }

    fn is_news(&self) -> bool {
        let untold = self.center.untold();
        let last = untold.backlog.iter().last();
        last.is_some_and(|(number, _)| number > self.told)
    }

    /// What is to be told next: acknowledgements first, then seconds, oldest first.
    fn next(&mut self) -> Option<Up> {
        if let Some(ack) = self.acks.pop_front() {
            return Some(Up::PolicyAck(ack));
        }
        let untold = self.center.untold();
        let told = self.told;
        let (number, second) = untold.backlog.iter().find(|(number, _)| *number > told)?;
        let mut reports = Vec::new();
        for (pair, report) in second {
            // More pairs than the center takes are not measured in the first place.
            if self.encoder.push(*pair, report, &mut reports).is_err() {
                break;
            }
        }
        let states = Arc::clone(&untold.states);
        let (rows, is_last) = (Arc::clone(&untold.rows), untold.backlog.iter().last());
        let is_last = is_last.is_some_and(|(last, _)| last == number);
        drop(untold);
        self.told = number;
        let prefixes = self.prefixes(&rows, is_last, number);
        // Services are told as they are now, with the latest second.
        let services = match is_last {
            true => self.services.next(number, &states),
            false => Vec::new(),
        };
        Some(Up::Telemetry(v1::Telemetry {
            second: number,
            reports,
            prefixes,
            services,
        }))
    }

    /// What is told of groups with a second: those with traffic in it, those whose traffic has ended, and with the latest second those that are not
    /// as they were told.
    fn prefixes(
        &mut self,
        rows: &BTreeMap<Key, Choice>,
        is_last: bool,
        number: u64,
    ) -> Vec<v1::PrefixTraffic> {
        let none = Choice {
            others: Vec::new(),
            plain: Vec::new(),
        };
        let Entered(mut entered) = self.center.entered(number);
        // What is counted of other prefixes is of pods here alone: nothing to schedule.
        entered.retain(|key, _| rows.contains_key(key) || self.rows.contains_key(key));
        let mut due: BTreeSet<&Key> = self.flowing.iter().chain(entered.keys()).collect();
        if is_last {
            let gone = self.rows.keys().filter(|key| !rows.contains_key(*key));
            let changed = rows
                .iter()
                .filter(|(key, choice)| self.rows.get(*key) != Some(*choice));
            due.extend(gone.chain(changed.map(|(key, _)| key)));
        }
        let (mut room, mut late, mut told) = (MAX_ROWS, Vec::new(), Vec::new());
        let silent = Counted::default();
        // What has ended first: a center has room for no more than all groups that there are.
        let (gone, rest): (Vec<&Key>, Vec<&Key>) =
            due.into_iter().partition(|key| !rows.contains_key(*key));
        let due: Vec<Key> = gone.into_iter().chain(rest).cloned().collect();
        for key in due {
            let choice = rows.get(&key).unwrap_or(&none);
            let counted = entered.get(&key).unwrap_or(&silent);
            let row = row(&key, choice, counted);
            let cost = row.encoded_len() + ROW_FRAME;
            if cost > room || told.len() == MAX_PREFIXES {
                if let Some(counted) = entered.remove(&key) {
                    late.push((key, counted));
                }
                continue;
            }
            room -= cost;
            match counted.bytes {
                0 => self.flowing.remove(&key),
                _ => self.flowing.insert(key.clone()),
            };
            if choice.plain.is_empty() {
                self.rows.remove(&key);
                self.flowing.remove(&key);
            } else {
                self.rows.insert(key, choice.clone());
            }
            told.push(row);
        }
        if !late.is_empty() {
            self.center.defer(number, late);
        }
        told
    }

    /// One message of the center; `false` while this process ends.
    async fn hear(&mut self, message: v1::CenterMessage) -> bool {
        match message.message {
            Some(Down::TelemetryAck(ack)) => self.center.acknowledge(ack.second),
            Some(Down::Policy(policy)) => return self.policy(policy).await,
            // A second hello says nothing new; what this version does not know is for later ones.
            Some(Down::Hello(_)) | None => {}
        }
        true
    }

    async fn policy(&mut self, signed: v1::SignedPolicy) -> bool {
        let signed = SignedPolicy {
            statement: signed.statement.into(),
            signature: signed.signature.into(),
            certificate: signed.certificate.into(),
        };
        if signed.statement.len() > MAX_STATEMENT {
            warn!(address = %self.center.address, "a policy with a statement of {} bytes is not read", signed.statement.len());
            return true;
        }
        let believed = match believed(self.root, &signed) {
            Ok(believed) => believed,
            Err(error) => {
                warn!(address = %self.center.address, "not applied: {error}");
                // It is not known whose it is, but what it says of itself tells the center which one was meant.
                self.acks
                    .push_back(ack((claimed(&signed), Err(error.to_string()))));
                return true;
            }
        };
        let rank = believed.0.rank;
        let answer = self
            .handle
            .query(move |node| node.take_policy(believed, signed));
        let Some(answer) = answer.await else {
            return false;
        };
        self.waiting.spawn(async move {
            let effect = answer.await;
            let effect = effect.unwrap_or_else(|_| Err("this gateway is ending".to_owned()));
            ((rank.id.0, rank.epoch.0, rank.replica.0), effect)
        });
        true
    }
}

/// Id, epoch and replica of a statement that is not believed; zeros if it is none.
fn claimed(signed: &SignedPolicy) -> (u64, u64, u32) {
    let statement: Result<v1::PolicyStatement, _> =
        prost::Message::decode(signed.statement.clone());
    statement.map_or((0, 0, 0), |one| (one.id, one.epoch, one.replica))
}

fn ack(((id, epoch, replica), effect): Done) -> v1::PolicyAck {
    let (generation, refused) = match effect {
        Ok(generation) => (generation, String::new()),
        Err(why) => (0, why),
    };
    v1::PolicyAck {
        id,
        epoch,
        replica,
        generation,
        refused,
    }
}

#[cfg(test)]
mod tests {
    use dmsc_spa::pki::Root;
    use dmsc_wire::{Domain, NameBuf, NodeId};

    use super::*;
    use crate::pods::Pods;

    #[test]
    fn a_message_has_no_more_groups_than_a_center_takes() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::init(&folder.path().join("root"), "dmsc.test", 1).unwrap();
        let (handle, _jobs) = Handle::new(Arc::new(Pods::default()));
        let center = Center::new("127.0.0.1:1".parse().unwrap());
        let mut stream = Stream::new(&handle, root.root_key(), &center, mpsc::channel(1).0);
        let choice = Choice {
            plain: vec![NodeId(1)],
            others: Vec::new(),
        };
        let group = |name: String| ((Domain(1), NameBuf::parse(&name).unwrap()), choice.clone());
        let short: BTreeMap<_, _> = (0..5_000).map(|at| group(format!("/{at}"))).collect();
        let first = stream.prefixes(&short, true, 1);
        assert_eq!(first.len(), MAX_PREFIXES);
        let mut told: Vec<_> = first.into_iter().map(|one| one.name).collect();
        told.extend(
            stream
                .prefixes(&short, true, 1)
                .into_iter()
                .map(|one| one.name),
        );
        assert!(stream.prefixes(&short, true, 1).is_empty());
        let all: Vec<_> = short.keys().map(|key| key.1.as_bytes().to_vec()).collect();
        assert_eq!(told, all, "each once, in their order");
        // Nor more bytes; groups that are gone first.
        let end = "x".repeat(200);
        let long: BTreeMap<_, _> = (0..5_000).map(|at| group(format!("/{at}/{end}"))).collect();
        let (mut messages, mut gone, mut come) = (0, 0, 0);
        loop {
            let changed = stream.prefixes(&long, true, 1);
            if changed.is_empty() {
                break;
            }
            let bytes: usize = changed.iter().map(prost::Message::encoded_len).sum();
            assert!(bytes <= MAX_ROWS && changed.len() <= MAX_PREFIXES);
            let ended = changed.iter().filter(|one| one.members.is_empty()).count();
            assert!(ended == 0 || come == 0, "room is made before it is taken");
            messages += 1;
            gone += ended;
            come += changed.iter().filter(|one| one.name.len() > 200).count();
            assert!(messages < 20);
        }
        assert_eq!((gone, come), (5_000, 5_000));
    }
}
