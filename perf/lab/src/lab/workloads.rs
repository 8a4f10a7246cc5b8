//! Programs that know nothing of names, in pods behind edges: nginx, Python servers, iperf3; and those that link the library of names.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;

use super::Lab;
use crate::file::Program;
use crate::net;
use crate::process::{Process, Share, Spec};
use crate::wait;

/// Debian's, which finds the modules of Debian's packages.
pub const PYTHON: &str = "/usr/bin/python3";

/// Programs in Python: name and text.
const SCRIPTS: &[(&str, &str)] = &[
    ("greeter.py", include_str!("../../programs/greeter.py")),
    ("websocket.py", include_str!("../../programs/websocket.py")),
    ("banner.py", include_str!("../../programs/banner.py")),
];

/// nginx is not well while this file is in its folder.
const ILL: &str = "ill";

/// A program in a pod, and the ports on which it listens: nginx has one process for HTTP/1.1 and HTTP/2.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Listens {
    ports: Vec<u16>,
    http2: Vec<u16>,
}

impl Listens {
    fn all(&self) -> impl Iterator<Item = u16> {
        self.ports.iter().chain(&self.http2).copied()
    }
}

/// What a page of nginx in `pod` says.
#[must_use]
pub fn page(pod: &str) -> String {
    format!(
        "A page from nginx in {pod}.\n{}",
        "It knows nothing of names.\n".repeat(32)
    )
}

impl Lab {
    /// Where the lab puts a Python program.
    #[must_use]
    pub fn script(&self, name: &str) -> PathBuf {
        self.path().join("programs").join(name)
    }

    /// All programs behind edges, by pod and kind.
    fn workloads(&self) -> BTreeMap<(usize, Program), Listens> {
        let mut all: BTreeMap<(usize, Program), Listens> = BTreeMap::new();
        for pod in self.plan.edges.iter().flat_map(|e| &e.pods) {
            for serve in &pod.serves {
                let (kind, http2) = match serve.program {
                    None => continue,
                    Some(Program::Nginx2) => (Program::Nginx, true),
                    Some(kind) => (kind, false),
                };
                let listens = all.entry((pod.pod, kind)).or_default();
                let ports = if http2 {
                    &mut listens.http2
                } else {
                    &mut listens.ports
                };
                if !ports.contains(&serve.port) {
                    ports.push(serve.port);
                }
            }
        }
        all
    }

    /// Starts every program that does not run, and waits until those behind edges accept connections.
    pub(super) fn start_workloads(&mut self) -> anyhow::Result<()> {
        std::fs::create_dir_all(self.path().join("programs"))?;
        for (name, text) in SCRIPTS {
            std::fs::write(self.script(name), text)?;
        }
        let mut started = Vec::new();
        for ((pod, kind), listens) in self.workloads() {
            let name = workload(&self.plan.pods[pod].name, kind);
            if self.runs(&name) {
                continue;
            }
            let command = self.workload_command(pod, kind, &listens)?;
            self.start_workload(pod, &name, command)?;
            started.push((name, listens));
        }
        for library in self.plan.libraries.clone() {
            let name = format!("{}.{}", self.plan.pods[library.pod].name, library.example);
            if !self.runs(&name) {
                let command = self.library_command(
                    library.pod,
                    &library.identity,
                    &library.example,
                    "serve",
                    &library.name.to_string(),
                )?;
                self.start_workload(library.pod, &name, command)?;
            }
        }
        for (name, listens) in started {
            self.wait_for_workload(&name, &listens)?;
        }
        Ok(())
    }

    fn nginx_folder(&self, pod: &str) -> PathBuf {
        self.path().join(format!("{pod}.nginx"))
    }

    /// Makes nginx in `pod`, which goes on running and answering, say to whoever checks it that it is not well; or that it is.
    ///
    /// # Errors
    /// When that cannot be written down for it.
    pub fn set_ill(&self, pod: &str, ill: bool) -> anyhow::Result<()> {
        let file = self.nginx_folder(pod).join(ILL);
        if ill {
            std::fs::write(&file, "").with_context(|| format!("cannot write {}", file.display()))
        } else if file.exists() {
            std::fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))
        } else {
            Ok(())
        }
    }

    fn runs(&mut self, name: &str) -> bool {
        self.workloads.get_mut(name).is_some_and(Process::alive)
    }

    fn start_workload(
        &mut self,
        pod: usize,
        name: &str,
        command: Vec<String>,
    ) -> anyhow::Result<()> {
        let spec = Spec {
            name: name.into(),
            namespace: self.plan.pods[pod].namespace.clone(),
            command,
            share: Share::Plain,
            survives: self.keep,
        };
        let process = Process::start(spec, &self.logs, false)?;
        self.workloads.insert(name.into(), process);
        Ok(())
    }

    fn wait_for_workload(&mut self, name: &str, listens: &Listens) -> anyhow::Result<()> {
        let process = self.workloads.get_mut(name).context("it was not started")?;
        let namespace = process.spec().namespace.clone();
        for port in listens.all() {
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            let mut ended = None;
            let what = format!("{name} to listen on port {port}");
            wait::until(&what, Duration::from_secs(15), || {
                if let Err(error) = process.check() {
                    ended = Some(error);
                    return Ok(Some(()));
                }
                net::inside(&namespace, move || Ok(TcpStream::connect(address)?)).map(|_| Some(()))
            })?;
            ended.map_or(Ok(()), Err)?;
        }
        Ok(())
    }

    fn workload_command(
        &self,
        pod: usize,
        kind: Program,
        listens: &Listens,
    ) -> anyhow::Result<Vec<String>> {
        let name = self.plan.pods[pod].name.clone();
        let port = listens.all().next().unwrap_or_default().to_string();
        let script = |file: &str, more: &[&str]| {
            let mut command = vec![
                PYTHON.into(),
                "-u".into(),
                self.script(file).display().to_string(),
            ];
            command.extend(more.iter().map(ToString::to_string));
            command
        };
        Ok(match kind {
            Program::Nginx | Program::Nginx2 => {
                let folder = self.nginx_folder(&name);
                write_nginx(&folder, &name, listens)?;
                let folder = folder.display().to_string();
                ["nginx", "-e", "stderr", "-p", &folder, "-c", "nginx.conf"]
                    .map(String::from)
                    .to_vec()
            }
            Program::Grpc => script("greeter.py", &["serve", &port]),
            Program::Websocket => script("websocket.py", &["serve", &port]),
            Program::Banner => script("banner.py", &[&port, &name]),
            Program::Iperf3 => [
                "iperf3",
                "--server",
                "--bind",
                "127.0.0.1",
                "--forceflush",
                "--port",
                &port,
            ]
            .map(String::from)
            .to_vec(),
        })
    }

    /// An example of dmsc-http in pod `pod`: `verb` is "serve" or "call".
    ///
    /// # Errors
    /// When its credentials cannot be made.
    pub fn library_command(
        &self,
        pod: usize,
        identity: &str,
        example: &str,
        verb: &str,
        name: &str,
    ) -> anyhow::Result<Vec<String>> {
        let credentials = self.issuer.pod(identity)?;
        Ok([
            self.programs.example(example).as_str(),
            "--gateway",
            &self.plan.pods[pod].gateway_address,
            "--identity",
            identity,
            "--credentials",
            &credentials.display().to_string(),
            "--name",
            // "/shop/greeter" is "dmsc://shop/greeter" there.
            &format!("dmsc:/{name}"),
            verb,
        ]
        .map(String::from)
        .to_vec())
    }

    /// A program in a pod behind an edge.
    ///
    /// # Errors
    /// When it was not started.
    pub fn workload(&mut self, pod: &str, kind: Program) -> anyhow::Result<&mut Process> {
        let name = workload(pod, kind);
        self.workloads
            .get_mut(&name)
            .with_context(|| format!("{name} was not started"))
    }
}

/// Name of its process and log.
fn workload(pod: &str, kind: Program) -> String {
    let kind = match kind {
        Program::Nginx | Program::Nginx2 => "nginx",
        Program::Grpc => "grpc",
        Program::Websocket => "websocket",
        Program::Iperf3 => "iperf3",
        Program::Banner => "banner",
    };
    format!("{pod}.{kind}")
}

/// One process that keeps everything in its folder: a page, and an echo of what was asked for and by whom it was answered.
fn nginx(folder: &Path, pod: &str, listens: &Listens) -> anyhow::Result<String> {
    let ill = folder.join(ILL);
    let ill = ill.display();
    let mut listen = String::new();
    for port in &listens.ports {
        writeln!(listen, "    listen 127.0.0.1:{port} backlog=1024;")?;
    }
    for port in &listens.http2 {
        writeln!(listen, "    listen 127.0.0.1:{port} http2 backlog=1024;")?;
    }
    Ok(format!(
        "daemon off;
master_process off;
worker_rlimit_nofile 8192;
pid nginx.pid;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  default_type text/plain;
  keepalive_requests 1000000;
  client_max_body_size 1m;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  server {{
{listen}    root html;
    location = / {{ if (-f {ill}) {{ return 503; }} return 200 \"well\\n\"; }}
    location = /page {{ try_files /page =404; }}
    location /echo/ {{ return 200 \"$request_uri {pod}\\n\"; }}
  }}
}}
"
    ))
}

fn write_nginx(folder: &Path, pod: &str, listens: &Listens) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder.join("html"))?;
    std::fs::write(folder.join("html/page"), page(pod))?;
    std::fs::write(folder.join("nginx.conf"), nginx(folder, pod, listens)?)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nginx_listens_on_all_its_ports() {
        let listens = Listens {
            ports: vec![8080],
            http2: vec![8082],
        };
        let text = nginx(Path::new("/lab/pod4.nginx"), "pod4", &listens).unwrap();
        assert!(text.contains("listen 127.0.0.1:8080 backlog"), "{text}");
        assert!(text.contains("listen 127.0.0.1:8082 http2"), "{text}");
        assert!(text.contains("$request_uri pod4"), "{text}");
        assert!(text.contains("-f /lab/pod4.nginx/ill)"), "{text}");
        assert_eq!(text.matches('{').count(), text.matches('}').count());
    }
}
