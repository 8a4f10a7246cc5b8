//! Finds libdpdk, compiles the C shim and generates the bindings of an allow-list.

use std::env;
use std::path::PathBuf;
use std::process::Command;

/// Functions that `dmsc-dpdk` calls. Everything else of DPDK stays out: binding all of it does not compile.
const FUNCTIONS: &[&str] = &[
    "dmsc_.*",
    "rte_eal_alarm_set",
    "rte_eal_get_runtime_dir",
    "rte_eal_hotplug_add",
    "rte_eal_hotplug_remove",
    "rte_eal_init",
    "rte_eal_iova_mode",
    "rte_dev_probe",
    "rte_dev_remove",
    "rte_eth_dev_adjust_nb_rx_tx_desc",
    "rte_eth_dev_close",
    "rte_eth_dev_configure",
    "rte_eth_dev_get_mtu",
    "rte_eth_dev_get_port_by_name",
    "rte_eth_dev_info_get",
    "rte_eth_dev_rx_intr_ctl_q_get_fd",
    "rte_eth_dev_rx_intr_disable",
    "rte_eth_dev_rx_intr_enable",
    "rte_eth_dev_socket_id",
    "rte_eth_dev_start",
    "rte_eth_dev_stop",
    "rte_eth_link_get_nowait",
    "rte_eth_macaddr_get",
    "rte_eth_allmulticast_enable",
    "rte_eth_promiscuous_disable",
    "rte_eth_promiscuous_enable",
    "rte_eth_rx_queue_setup",
    "rte_eth_stats_get",
    "rte_eth_tx_queue_setup",
    "rte_eth_xstats_get",
    "rte_eth_xstats_get_names",
    "rte_get_tsc_hz",
    "rte_hash_add_key",
    "rte_hash_create",
    "rte_hash_free",
    "rte_hash_lookup_bulk",
    "rte_lcore_count",
    "rte_mempool_avail_count",
    "rte_pktmbuf_pool_create",
    "rte_strerror",
    "rte_thread_register",
    "rte_thread_unregister",
    "rte_version",
];

const CONSTANTS: &[&str] = &[
    "DMSC_.*",
    "RTE_ETHER_CRC_LEN",
    "RTE_ETHER_HDR_LEN",
    "RTE_ETHER_MTU",
    "RTE_ETH_LINK_UP",
    "RTE_ETH_NAME_MAX_LEN",
    "RTE_HASH_EXTRA_FLAGS_RW_CONCURRENCY_LF",
    "RTE_HASH_LOOKUP_BULK_MAX",
    "RTE_MAX_LCORE",
    "RTE_PKTMBUF_HEADROOM",
    "dmsc_mbuf_.*",
];

/// What a static build has in it of DPDK: the library, and the drivers of ports that need no hardware of their own.
const ARCHIVES: &[&str] = &[
    "eal",
    "kvargs",
    "telemetry",
    "ring",
    "rcu",
    "mempool",
    "mbuf",
    "net",
    "meter",
    "ethdev",
    "hash",
    "pci",
    "timer",
    "cryptodev",
    "dmadev",
    "security",
    "gso",
    "sched",
    "vhost",
    "bus_pci",
    "bus_vdev",
    "mempool_ring",
    "net_af_packet",
    "net_af_xdp",
    "net_null",
    "net_pcap",
    "net_ring",
    "net_tap",
    "net_vhost",
    "net_virtio",
];

/// What these need of the system.
const LIBRARIES: &[&str] = &["numa", "pcap", "bpf", "xdp", "elf", "z", "bsd", "jansson"];

fn main() {
    for file in ["build.rs", "wrapper.h", "shim.h", "shim.c"] {
        println!("cargo:rerun-if-changed={file}");
    }
    let is_static = env::var_os("CARGO_FEATURE_STATIC").is_some();
    let dpdk = match pkg_config::Config::new()
        .atleast_version("22.11")
        .cargo_metadata(!is_static)
        .probe("libdpdk")
    {
        Ok(dpdk) => dpdk,
        Err(pkg_config::Error::Command { .. }) => refuse(
            "pkg-config is not installed, which finds DPDK: `apt-get install pkg-config libdpdk-dev`.",
        ),
        Err(_) => refuse(
            "DPDK 22.11 or newer was not found by pkg-config (libdpdk): `apt-get install libdpdk-dev`; \
             crates that need no DPDK build without it.",
        ),
    };
    println!("cargo:version={}", dpdk.version);
    if is_static {
        link_archives();
    }

    let flags = cflags();
    let mut shim = cc::Build::new();
    shim.file("shim.c").opt_level(3).warnings(true);
    if is_static {
        shim.define("DMSC_STATIC", None);
    }
    for flag in &flags {
        shim.flag(flag);
    }
    shim.compile("dmsc_shim");

    bind(&flags);
}

/// `pkg-config --static` names every driver, some of whose own libraries have no archive, so the choice is ours. Drivers announce
/// themselves in constructors that nobody calls by name: all of each archive is needed.
fn link_archives() {
    let folder = match pkg_config::get_variable("libdpdk", "libdir") {
        Ok(folder) => folder,
        Err(error) => refuse(&format!("where DPDK's archives are is not known: {error}")),
    };
    println!("cargo:rustc-link-search=native={folder}");
    link_memif(&folder);
    for archive in ARCHIVES {
        println!("cargo:rustc-link-lib=static:+whole-archive,-bundle=rte_{archive}");
    }
    for library in LIBRARIES {
        println!("cargo:rustc-link-lib=dylib={library}");
    }
}

/// The memif driver, calling the shim before it takes a callback back (shim.c). Shared libraries find the shim's function by name;
/// among archives the name would be there twice, and a linker's `--wrap` cannot be asked for by a library.
fn link_memif(folder: &str) {
    let out = out_dir();
    let status = Command::new("objcopy")
        .arg("--redefine-sym=rte_intr_callback_unregister=dmsc_intr_callback_unregister")
        .arg(format!("{folder}/librte_net_memif.a"))
        .arg(out.join("libdmsc_net_memif.a"))
        .status();
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => refuse(&format!(
            "objcopy could not rename a symbol of {folder}/librte_net_memif.a ({status})"
        )),
        Err(error) => refuse(&format!(
            "objcopy cannot run ({error}), which a static build needs: `apt-get install binutils`."
        )),
    }
    println!("cargo:rustc-link-search=native={}", out.display());
    println!("cargo:rustc-link-lib=static:+whole-archive,-bundle=dmsc_net_memif");
}

fn out_dir() -> PathBuf {
    PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"))
}

/// The compiler flags of DPDK, `-include rte_config.h` and the instruction set among them, which the
/// pkg-config crate leaves out.
fn cflags() -> Vec<String> {
    let tool = env::var("PKG_CONFIG").unwrap_or_else(|_| "pkg-config".into());
    let output = Command::new(tool)
        .args(["--cflags", "libdpdk"])
        .output()
        .unwrap_or_else(|error| {
            refuse(&format!(
                "`pkg-config --cflags libdpdk` cannot run: {error}"
            ))
        });
    let mut flags: Vec<String> = String::from_utf8_lossy(&output.stdout)
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    // The shim is inlined DPDK code: give it the instruction set of the Rust code around it.
    let features = env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    if features.split(',').any(|feature| feature == "avx2") {
        flags.retain(|flag| !flag.starts_with("-march="));
        flags.push("-march=x86-64-v3".into());
    }
    flags
}

fn bind(flags: &[String]) {
    let mut builder = bindgen::Builder::default()
        .header("wrapper.h")
        .clang_args(flags)
        .rust_edition(bindgen::RustEdition::Edition2024)
        .rust_target(bindgen::RustTarget::stable(85, 0).unwrap_or_default())
        .generate_comments(false)
        .layout_tests(true)
        .derive_default(true)
        .prepend_enum_name(false)
        .wrap_unsafe_ops(true)
        // rte_errno and the lcore id are thread-local: a binding to them links and then crashes.
        .blocklist_item("per_lcore.*")
        // Field paths of rte_mbuf differ between releases, offsets do not: src/mbuf.rs has our own.
        .blocklist_type("rte_mbuf")
        .raw_line("use crate::mbuf::rte_mbuf;")
        .opaque_type("rte_mempool")
        .opaque_type("rte_hash")
        .opaque_type("rte_eth_dev_callback_fn.*")
        .parse_callbacks(Box::new(bindgen::CargoCallbacks::new()));
    for function in FUNCTIONS {
        builder = builder.allowlist_function(function);
    }
    for constant in CONSTANTS {
        builder = builder.allowlist_var(constant);
    }
    // bindgen panics where libclang is missing; one sentence helps more than a backtrace.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let generated = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| builder.generate()));
    std::panic::set_hook(hook);
    let bindings = match generated {
        Ok(Ok(bindings)) => bindings,
        Ok(Err(error)) => refuse(&format!(
            "bindings of DPDK cannot be generated ({error}): is clang's header package there (`apt-get install clang libclang-dev`)?"
        )),
        Err(_) => refuse(
            "libclang, which reads DPDK's headers, was not found: `apt-get install clang libclang-dev`.",
        ),
    };
    let out = out_dir().join("bindings.rs");
    if let Err(error) = bindings.write_to_file(&out) {
        refuse(&format!("{} cannot be written: {error}", out.display()));
    }
}

fn refuse(sentence: &str) -> ! {
    eprintln!("{sentence}");
    std::process::exit(1);
}
