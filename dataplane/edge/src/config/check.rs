//! Checks a configuration as a whole, and tells all mistakes at once.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dmsc_pod::SharedAttachment;
use dmsc_wire::{Class, Domain};

use super::collector::Collector;
use super::raw;
use super::{
    AccessLogTo, Config, HealthCheck, HealthKind, Mistakes, Outbound, PodConfig, Range, Redirect,
    Serve,
};

const SERIES: u32 = 5_000;
/// Pods of one process: each has a thread.
const MAX_PODS: usize = 512;
const MAX_REDIRECTS: usize = 1_024;
const MAX_SERVES: usize = 256;
/// Bytes of the path of a Unix socket (unix(7)), and of the name of a port.
const SOCKET_PATH: usize = 107;
const PORT_NAME: usize = 64;

pub(super) fn check(text: &str, file: &Path) -> Result<Config, Mistakes> {
    let raw: raw::File = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start.min(text.len()));
        let before = text.get(..at).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let message = error.message();
        Mistakes(vec![format!("{}:{line}: {message}", file.display())])
    })?;
    let mut collector = Collector::new(file);
    let metrics = collector.listen("metrics", raw.metrics.as_deref(), &None, "tcp");
    let access_log = match raw.access_log.as_deref() {
        None | Some("off") => AccessLogTo::Off,
        Some("stdout") => AccessLogTo::Stdout,
        Some("") => collector.wrong(
            "access_log",
            "",
            AccessLogTo::Off,
            &"write \"off\", \"stdout\" or a file",
        ),
        Some(path) => AccessLogTo::File(path.into()),
    };
    let series = collector.number("series", raw.series, SERIES, 10, 1_000_000);
    if raw.pod.is_empty() {
        collector.say("[[pod]]: missing; say at least one pod that this edge speaks for");
    } else if raw.pod.len() > MAX_PODS {
        collector.say(&format!(
            "[[pod]]: there are {}; at most {MAX_PODS} fit",
            raw.pod.len()
        ));
    }
    let (mut identities, mut memories) = (HashSet::new(), HashSet::new());
    let mut pods = Vec::new();
    for (number, pod) in raw.pod.into_iter().enumerate() {
        let table = format!("[[pod]] {} ({})", number + 1, pod.identity);
        if !identities.insert(pod.identity.clone()) {
            collector.table.clone_from(&table);
            collector.wrong(
                "identity",
                &pod.identity,
                (),
                &"another [[pod]] has it; one entry per pod",
            );
        }
        if let Some(shared) = &pod.shared
            && !memories.insert(shared.socket.clone())
        {
            collector.table = format!("{table} [pod.shared]");
            collector.wrong(
                "socket",
                &shared.socket.display().to_string(),
                (),
                &"another [[pod]] has it; one memory is shared by two processes, so each pod has a port of its own at the gateway",
            );
        }
        pods.push(collector.pod(pod, &table));
    }
    if !collector.mistakes.is_empty() {
        return Err(Mistakes(collector.mistakes));
    }
    Ok(Config {
        file: file.to_path_buf(),
        operator: raw.operator,
        view_group: raw.view_group,
        metrics,
        access_log,
        series: series as usize,
        pods: pods.into_iter().flatten().collect(),
    })
}

impl Collector<'_> {
    fn pod(&mut self, raw: raw::Pod, table: &str) -> Option<PodConfig> {
        self.table = table.to_owned();
        let before = self.mistakes.len();
        if raw.identity.is_empty() || raw.identity.len() > 255 {
            self.wrong(
                "identity",
                &raw.identity,
                (),
                &"write 1 to 255 bytes, as the pod's certificate says it",
            );
        }
        if raw.credentials.as_os_str().is_empty() {
            self.wrong(
                "credentials",
                "",
                (),
                &"write the folder with cert.pem, key.pem and root.pem",
            );
        }
        let gateway = self.parsed("gateway", &raw.gateway, |text| {
            text.parse()
                .map_err(|error: dmsc_pod::config::GatewayAddressError| error.to_string())
        });
        let netns = raw.netns;
        let shared = raw.shared.and_then(|raw| {
            self.table = format!("{table} [pod.shared]");
            self.shared(raw)
        });
        let outbound = raw.outbound.map(|raw| {
            self.table = format!("{table} [pod.outbound]");
            self.outbound(&raw, &netns)
        });
        if raw.redirect.len() > MAX_REDIRECTS {
            self.say(&format!(
                "{table} [[pod.redirect]]: there are {}; at most {MAX_REDIRECTS} fit",
                raw.redirect.len()
            ));
        }
        if !raw.redirect.is_empty() && outbound.as_ref().is_none_or(|one| one.tcp.is_none()) {
            self.say(&format!("{table} [[pod.redirect]]: needs [pod.outbound] tcp, where such connections are redirected to"));
        }
        let redirects = self.redirects(raw.redirect, table);
        if raw.serve.len() > MAX_SERVES {
            self.say(&format!(
                "{table} [[pod.serve]]: there are {}; at most {MAX_SERVES} fit",
                raw.serve.len()
            ));
        }
        let serves = self.serves(raw.serve, table);
        if self.mistakes.len() > before {
            return None;
        }
        Some(PodConfig {
            identity: raw.identity,
            credentials: raw.credentials,
            gateway: gateway?,
            netns,
            domain: Domain(raw.domain.unwrap_or(0)),
            shared,
            outbound,
            redirects,
            serves,
        })
    }

    fn shared(&mut self, raw: raw::Shared) -> Option<SharedAttachment> {
        let path = raw.socket.as_os_str().len();
        if path == 0 || path > SOCKET_PATH {
            let why =
                format!("write the socket of the gateway's port, of at most {SOCKET_PATH} bytes");
            self.wrong("socket", &raw.socket.display().to_string(), (), &why);
        }
        if raw.port.is_empty() || raw.port.len() > PORT_NAME {
            let why = "write the name of the gateway's port, as in the gateway's configuration";
            self.wrong("port", &raw.port, (), &why);
        }
        let address = self.parsed("address", &raw.address, |text| {
            let parsed = text.parse::<Ipv4Addr>().ok();
            let usable = parsed.filter(|one| !one.is_unspecified() && !one.is_multicast());
            usable.ok_or_else(|| {
                "write the pod's IPv4 address on that port, without a prefix length".to_owned()
            })
        });
        Some(SharedAttachment {
            socket: raw.socket,
            port: raw.port,
            address: address?,
        })
    }

    fn outbound(&mut self, raw: &raw::Outbound, netns: &Option<PathBuf>) -> Outbound {
        let suffix = raw.suffix.as_deref().unwrap_or("dmsc");
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
        let edge = |byte: Option<&u8>| byte.is_none_or(|byte| *byte == b'.');
        let bytes = suffix.as_bytes();
        if !bytes.iter().all(|byte| plain(*byte)) || edge(bytes.first()) || edge(bytes.last()) {
            self.wrong(
                "suffix",
                suffix,
                (),
                &"write a label, or labels with dots between them, like dmsc",
            );
        }
        let range = self.parsed(
            "range",
            raw.range.as_deref().unwrap_or("198.18.0.0/16"),
            range,
        );
        let default = Duration::from_secs(15);
        let class = Class(raw.class.unwrap_or(0));
        if !class.is_valid() {
            self.wrong("class", &class.0.to_string(), (), &"write 0 to 7");
        }
        let http = self.listen("http", raw.http.as_deref(), netns, "tcp");
        let tcp = self.listen("tcp", raw.tcp.as_deref(), netns, "tcp");
        let dns = self.listen("dns", raw.dns.as_deref(), netns, "udp");
        Outbound {
            http,
            dns,
            suffix: suffix.to_ascii_lowercase(),
            range: range.unwrap_or(Range {
                network: Ipv4Addr::new(198, 18, 0, 0),
                length: 16,
            }),
            tcp,
            class,
            timeout: self.duration(
                "timeout",
                raw.timeout.as_deref(),
                default,
                Duration::from_secs(3_600),
            ),
        }
    }

    fn redirects(&mut self, raw: Vec<raw::Redirect>, table: &str) -> Vec<Redirect> {
        let mut taken = HashSet::new();
        let mut redirects = Vec::new();
        for (number, one) in raw.into_iter().enumerate() {
            self.table = format!("{table} [[pod.redirect]] {}", number + 1);
            let address = self.socket("address", &one.address);
            let name = self.name("name", &one.name);
            let (Some(address), Some(name)) = (address, name) else {
                continue;
            };
            if !taken.insert(address) {
                self.wrong("address", &one.address, (), &"is redirected above already");
            }
            redirects.push(Redirect { address, name });
        }
        redirects
    }

    fn serves(&mut self, raw: Vec<raw::Serve>, table: &str) -> Vec<Serve> {
        let mut taken = HashSet::new();
        let mut serves = Vec::new();
        for (number, one) in raw.into_iter().enumerate() {
            self.table = format!("{table} [[pod.serve]] {}", number + 1);
            let prefix = self.name("prefix", &one.prefix);
            let to = self.socket("to", &one.to);
            self.table = format!("{} health", self.table);
            let health = one
                .health
                .map_or_else(HealthCheck::default, |raw| self.health(&raw));
            let (Some(prefix), Some(to)) = (prefix, to) else {
                continue;
            };
            if !taken.insert(prefix.clone()) {
                self.table = format!("{table} [[pod.serve]] {}", number + 1);
                self.wrong("prefix", &one.prefix, (), &"is served above already");
            }
            serves.push(Serve { prefix, to, health });
        }
        serves
    }

    fn health(&mut self, raw: &raw::Health) -> HealthCheck {
        let usual = HealthCheck::default();
        let minute = Duration::from_secs(60);
        let kind = match raw.kind.as_deref() {
            None | Some("tcp") => HealthKind::Tcp,
            Some("http") => {
                let path = raw.path.clone().unwrap_or_else(|| "/".into());
                let plain = |byte: u8| byte.is_ascii_graphic();
                if !path.starts_with('/') || !path.bytes().all(plain) {
                    self.wrong("path", &path, (), &"write a path like /healthz");
                }
                HealthKind::Http { path }
            }
            Some("grpc") => HealthKind::Grpc {
                service: raw.service.clone().unwrap_or_default(),
            },
            Some(other) => self.wrong(
                "kind",
                other,
                HealthKind::Tcp,
                &"write \"tcp\", \"http\" or \"grpc\"",
            ),
        };
        if let (Some(path), false) = (&raw.path, matches!(kind, HealthKind::Http { .. })) {
            self.wrong("path", path, (), &"only kind = \"http\" has one");
        }
        if let (Some(service), false) = (&raw.service, matches!(kind, HealthKind::Grpc { .. })) {
            self.wrong("service", service, (), &"only kind = \"grpc\" has one");
        }
        HealthCheck {
            kind,
            every: self.duration("every", raw.every.as_deref(), usual.every, minute),
            timeout: self.duration("timeout", raw.timeout.as_deref(), usual.timeout, minute),
            rise: self.number("rise", raw.rise, usual.rise, 1, 100),
            fall: self.number("fall", raw.fall, usual.fall, 1, 100),
        }
    }
}

fn range(text: &str) -> Result<Range, String> {
    let wrong = || "write a block of IPv4 addresses, of /8 to /30, like 198.18.0.0/16".to_owned();
    let (network, length) = text.split_once('/').ok_or_else(wrong)?;
    let network: Ipv4Addr = network.parse().map_err(|_| wrong())?;
    let length: u8 = length.parse().map_err(|_| wrong())?;
    if !(8..=30).contains(&length) {
        return Err(wrong());
    }
    let range = Range { network, length };
    if !range.contains(network) {
        let first = u32::from(network) & (u32::MAX << (32 - u32::from(length)));
        return Err(format!("the block begins at {}", Ipv4Addr::from(first)));
    }
    Ok(range)
}
