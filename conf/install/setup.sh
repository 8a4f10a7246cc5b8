#!/bin/sh
# Makes a machine ready to build and run the demo and the tests: packages, huge pages, Rust toolchain. Can be undone.
set -eu

usage() {
    cat <<TEXT
Usage: setup.sh [demo|test|deep|perf] [--dry-run]
       setup.sh --restore
       setup.sh --help

Checks what building and running need, installs what is missing with apt-get (saying what and why), reserves huge
pages, and checks the Rust toolchain. Without root it asks sudo. When nothing is missing it does nothing and takes
a moment only.

  demo        what building and 'make demo' need (default)
  test        and what 'make test' needs
  deep        and what 'make deep' needs
  perf        what 'make demo', 'make perf-http' and the other commands of dmsc-perf need
  --dry-run   say what would be done, and change nothing
  --restore   give the huge pages back: sets the number that was found by the first setup

Environment:
  DMSC_HUGEPAGES   2 MiB pages to reserve (default $default_pages: 96 MiB for each of the seven routers of the demo, and room
                   for one more); 0 reserves none: the dataplanes then run without them, about 3.5 times slower

Exit status: 0 ready; 1 something is missing that could not be installed; 2 usage.
TEXT
}

default_pages=400
state=/run/dmsc-setup/nr_hugepages
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
want=demo
dry=no
restore=no
for word in "$@"; do
    case $word in
    demo | test | deep | perf) want=$word ;;
    --dry-run) dry=yes ;;
    --restore) restore=yes ;;
    -h | --help) usage; exit 0 ;;
    *) echo "setup: '$word' is not known" >&2; usage >&2; exit 2 ;;
    esac
done
pages=${DMSC_HUGEPAGES:-$default_pages}
case $pages in
'' | *[!0-9]*) echo "setup: DMSC_HUGEPAGES=$pages is not a number of pages" >&2; exit 2 ;;
esac

say() { echo "setup: $*"; }

# Tools of the administrator are not on every user's PATH.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

# Runs a command as root, over sudo if need be.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        echo "setup: needs root for: $*; run it as root, or install sudo" >&2
        return 1
    fi
}

# --- huge pages ------------------------------------------------------------------------------------------------

nr_hugepages=/proc/sys/vm/nr_hugepages

set_hugepages() {
    as_root sh -c "echo $1 > $nr_hugepages" 2>/dev/null
}

restore_hugepages() {
    [ -r "$state" ] || return 0
    before=$(cat "$state")
    if [ "$(cat "$nr_hugepages")" = "$before" ]; then
        as_root rm -rf "${state%/*}"
        return 0
    fi
    # While routers still run (make demo KEEP=1) the kernel takes back what is free, and the rest when they end.
    if set_hugepages "$before"; then
        as_root rm -rf "${state%/*}"
        say "huge pages: back to $before"
    else
        say "huge pages: could not be set back to $before: echo $before > $nr_hugepages"
    fi
}

reserve_hugepages() {
    if [ "$pages" = 0 ]; then
        say "huge pages: none wanted (DMSC_HUGEPAGES=0); the dataplanes run without them, more slowly"
        return 0
    fi
    if [ ! -r "$nr_hugepages" ]; then
        say "huge pages: this kernel has none; the dataplanes run without them (huge = \"auto\"), more slowly"
        return 0
    fi
    now=$(cat "$nr_hugepages")
    free=$(awk '/^HugePages_Free:/ { print $2 }' /proc/meminfo)
    size=$(awk '/^Hugepagesize:/ { print $2 }' /proc/meminfo)
    if [ "$size" != 2048 ]; then
        say "huge pages: the default size here is $size kB, not 2048 kB: left as they are"
        return 0
    fi
    [ "$free" -lt "$pages" ] || return 0
    # Never more than a quarter of the memory that is free: a slow demo is better than a machine that swaps.
    available=$(awk '/^MemAvailable:/ { print int($2 / 2048) }' /proc/meminfo)
    missing=$((pages - free))
    if [ $((available / 4)) -lt "$missing" ]; then
        say "huge pages: $missing x 2 MiB would be more than a quarter of the free memory: none reserved (huge = \"auto\")"
        return 0
    fi
    say "huge pages: reserving $missing x 2 MiB (there are $now, $free of them free): DPDK keeps packet buffers in them;" \
        "without, the dataplanes are about 3.5 times slower. Undone at the end, or by: conf/install/setup.sh --restore"
    [ $dry = no ] || return 0
    if [ ! -e "$state" ]; then
        as_root sh -c "mkdir -p ${state%/*} && echo $now > $state" || true
    fi
    set_hugepages $((now + missing)) || true
    got=$(($(cat "$nr_hugepages") - now))
    if [ "$got" -lt "$missing" ]; then
        say "huge pages: only $got of $missing could be had (memory is fragmented, or the container forbids it):" \
            "dataplanes that get none run without (huge = \"auto\"), more slowly"
    fi
}

if [ $restore = yes ]; then
    restore_hugepages
    exit 0
fi

# --- packages --------------------------------------------------------------------------------------------------

packages=
reasons=
missing() { # package, reason
    case " $packages " in
    *" $1 "*) return 0 ;;
    esac
    packages="$packages $1"
    reasons="$reasons
setup:   $(printf '%-16s' "$1") $2"
}
need() { # command, package, reason
    command -v "$1" >/dev/null || missing "$2" "$3"
}

need cc gcc "compiles the C shim of dpdk-sys, and links"
need c++ g++ "links the fuzz targets with libFuzzer"
need pkg-config pkg-config "finds DPDK for the build"
pkg-config --exists libdpdk 2>/dev/null || missing libdpdk-dev "DPDK, its headers and drivers"
need clang clang "its headers are what bindgen reads DPDK's with"
{ ls /usr/lib/llvm-*/lib/libclang*.so* /usr/lib/*/libclang*.so* 2>/dev/null || true; } | grep -q . ||
    missing libclang-dev "bindgen reads the headers of DPDK with it"
need ip iproute2 "network namespaces and virtual links of the lab"
need sysctl procps "kernel forwarding in the lab's namespaces"
need ethtool ethtool "turns checksum offload off in pods: DPDK sees unfinished checksums otherwise"
need setpriv util-linux "ends the lab's processes with the lab"
need dnsmasq dnsmasq-base "the name server that a pod asks in the demo"
need curl curl "fetches pages in the demo"
need python3 python3 "serves a page outside of the mesh in the demo"
need nft nftables "redirects connections of programs that know nothing of names"
need nginx nginx-light "serves pages by name in the demo; it is not started on this machine"
need wrk wrk "calls over HTTP/1.1 in the demo"
need h2load nghttp2-client "calls over HTTP/1.1 and HTTP/2 in the demo"
need iperf3 iperf3 "sends as much as it can in the demo; it is not started on this machine"
module() { # module of Debian's Python, package, reason
    /usr/bin/python3 -c "import importlib.util as u, sys; sys.exit(not u.find_spec('$1'))" 2>/dev/null || missing "$2" "$3"
}
module grpc python3-grpcio "a gRPC service and its client in the demo"
module google.protobuf python3-protobuf "messages of that service"
module websockets python3-websockets "a WebSocket server and its client in the demo"
case $want in
test | deep)
    need tshark tshark "runs the second, independent decoder of the packet format"
    need ping iputils-ping "asks the kernels beyond a router's ports in its tests"
    need dig bind9-dnsutils "asks the edge's name server in its tests"
    need chromium chromium "looks at the scheduling center's page in its test, without a window"
    ;;
esac
case $want in
test | deep | perf) need valgrind valgrind "counts instructions per packet; 'make deep' checks memory accesses with it" ;;
esac
# Envoy is a wheel: dmsc-perf installs it into an environment of its own.
need_peers() {
    need haproxy haproxy "is compared with by 'make perf-http'; it is not started on this machine"
    need dpdk-testpmd dpdk-dev "is compared with by 'dmsc-perf forward', 'scale' and 'foreign'"
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing python3-venv "holds Envoy, which 'make perf-http' compares with"
}
[ "$want" != perf ] || need_peers

# Packages may bring services that start at once and at every boot; the lab needs programs only. A rule that is there already stays.
no_services=/usr/sbin/policy-rc.d
forbidden=no
forbid_services() {
    [ ! -e $no_services ] || return 0
    forbidden=yes
    trap allow_services EXIT
    as_root sh -c "printf '#!/bin/sh\nexit 101\n' >$no_services && chmod 755 $no_services"
}
allow_services() {
    [ $forbidden = no ] || as_root rm -f $no_services
    forbidden=no
}
# Only of packages that were installed here: what ran before is somebody's.
disable_services() {
    command -v systemctl >/dev/null || return 0
    case " $packages " in
    *" nginx-light "*) as_root systemctl disable nginx >/dev/null 2>&1 || true ;;
    esac
    case " $packages " in
    *" haproxy "*) as_root systemctl disable haproxy >/dev/null 2>&1 || true ;;
    esac
}

if [ -n "$packages" ]; then
    say "missing packages, and what each is for:$reasons"
    if ! command -v apt-get >/dev/null; then
        say "there is no apt-get here: install the same things with your package manager (Debian names above)" >&2
        exit 1
    fi
    if [ $dry = no ]; then
        say "installing them with apt-get"
        # tshark asks whether users may capture; nobody answers here.
        install="DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends$packages"
        log=$(mktemp)
        forbid_services
        if as_root sh -c "(apt-get update && $install) >$log 2>&1"; then
            rm -f "$log"
            allow_services
            disable_services
        else
            tail -5 "$log" >&2
            rm -f "$log"
            say "could not install them; do it by hand: apt-get install$packages" >&2
            exit 1
        fi
    fi
fi

reserve_hugepages

# --- Rust ------------------------------------------------------------------------------------------------------

channel=$(sed -n 's/^channel *= *"\(.*\)"/\1/p' "$root/rust-toolchain.toml")
if ! command -v cargo >/dev/null && [ -x "${HOME:-/root}/.cargo/bin/cargo" ]; then
    PATH=$PATH:${HOME:-/root}/.cargo/bin
fi
if ! command -v cargo >/dev/null; then
    say "no Rust toolchain: install rustup as https://rustup.rs tells; it then fetches $channel by itself" >&2
    exit 1
fi
# With rustup this also fetches the toolchain that rust-toolchain.toml names, once.
version=$(cd "$root" && rustc --version | awk '{ print $2 }')
oldest=$(printf '%s\n%s\n' "$channel" "$version" | sort -V | head -1)
if [ "$oldest" != "$channel" ]; then
    say "rustc $version is older than $channel: install rustup as https://rustup.rs tells, or a newer rustc" >&2
    exit 1
fi
case $want in
perf) target=perf-http ;;
*) target=$want ;;
esac
[ $dry = yes ] || say "ready for 'make $target' (rustc $version)"
