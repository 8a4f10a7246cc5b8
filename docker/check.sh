#!/bin/sh
# Builds the images from programs of this machine, starts compose.yaml in a container engine, and calls services by name across it.
set -eu

usage() {
    cat <<TEXT
Usage: docker/check.sh [BIN]

BIN: folder of the programs (default: target/release; 'make build' makes them). Needs root, podman, runc, netavark, iptables and busybox-static from
Debian's packages and podman-compose 1.5.0 from PyPI; installs what is missing when CI is set, otherwise says so. The images are those of
docker/Dockerfile without its first stage. Exit status: 0 all answered; 1 something failed; 77 could not run here, and why.
TEXT
}

case "${1:-}" in
-h | --help) usage; exit 0 ;;
esac
here=$(cd "$(dirname "$0")" && pwd)
bin=$(cd "${1:-$here/../target/release}" && pwd)
cd "$here"
skip() { echo "docker: skipped: $*"; exit 77; }
[ "$(id -u)" = 0 ] || skip "needs root"
# netavark is in no PATH; it runs iptables.
for need in podman runc busybox iptables; do
    command -v $need >/dev/null && continue
    [ -n "${CI:-}" ] || skip "$need is missing: apt-get install podman runc netavark iptables busybox-static"
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends podman runc netavark iptables busybox-static >/dev/null 2>&1 ||
        skip "podman, runc, netavark, iptables and busybox-static could not be installed"
done
work=$(mktemp -d)
compose() { timeout 300 "$work/venv/bin/podman-compose" -p dmsc-check -f "$work/compose.yaml" "$@"; }
cleanup() {
    status=$?
    trap - EXIT INT TERM
    if [ -e "$work/compose.yaml" ]; then
        if [ $status != 0 ] && [ $status != 77 ]; then
            podman ps -a --format '{{.Names}}: {{.Status}}' --filter name=dmsc-check
            for name in $(podman ps -a --format '{{.Names}}' --filter name=dmsc-check); do
                echo "--- $name"; podman logs "$name" 2>&1 | tail -n 4
            done
        fi
        compose down -v >/dev/null 2>&1 || true
    fi
    podman rmi -f dmsc-dataplane dmsc-controlplane dmsc-pod dmsc-edge dmsc-ctl >/dev/null 2>&1 || true
    rm -rf "$work"
    exit $status
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# The default of podman's package is an engine that does not know every kernel's groups of processes.
cat >"$work/containers.conf" <<TEXT
[containers]
default_ulimits = ["nofile=4096:8192", "nproc=4096:8192"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_backend = "netavark"
TEXT
export CONTAINERS_CONF=$work/containers.conf
python3 -m venv "$work/venv" 2>/dev/null && "$work/venv/bin/pip" -q install podman-compose==1.5.0 2>/dev/null ||
    skip "podman-compose 1.5.0 could not be installed with pip"

mkdir -p "$work/build"
./rootfs.sh "$bin" "$work/build/rootfs"
for image in dataplane controlplane pod edge ctl; do
    podman build -q --target $image -t dmsc-$image --build-context build="$work/build" -f Dockerfile . >/dev/null || skip "podman cannot build here"
done
podman run --rm --network none dmsc-ctl --version >/dev/null || skip "podman cannot run a container here"

# podman 4.3 has its own word for the MTU of a network.
sed 's/com.docker.network.driver.mtu/mtu/' compose.yaml >"$work/compose.yaml"
cp -r figure2 pki.sh "$work/"
"$work/pki.sh" "$bin/dmscctl" >/dev/null
started=$(date +%s)
compose up -d >/dev/null 2>"$work/up.log" || { cat "$work/up.log" >&2; exit 1; }
echo "docker: $(podman ps -q --filter name=dmsc-check | wc -l) containers started in $(($(date +%s) - started)) s"
pod1() { podman exec "$(podman ps --format '{{.Names}}' --filter name=dmsc-check_pod1_)" dmsc-pod --gateway 10.1.0.2 --identity pod1/caller --credentials /etc/dmsc/pod1-caller "$@"; }

# Converged when the far service answers.
for attempt in $(seq 60); do
    pod1 call /shop/payment >/dev/null 2>&1 && break
    sleep 1
done
for name in /shop/b /shop/catalog /shop/payment; do
    echo "docker: from pod1: call $name"
    pod1 call $name
done
# A page from a web server that knows nothing of names, by a program that knows nothing of names: over two edges.
page() { podman exec "$(podman ps --format '{{.Names}}' --filter name=dmsc-check_pod1_)" wget -q -O - --header 'Host: web.shop.dmsc' http://127.0.0.1:15001/; }
for attempt in $(seq 30); do
    page >"$work/page" 2>/dev/null && break
    sleep 1
done
echo "docker: from pod1: wget http://web.shop.dmsc/"
cat "$work/page"
cmp -s "$work/page" figure2/www/index.html || { echo "docker: that is not the page of pod 4" >&2; exit 1; }
# Over the virtio-user/vhost-user link, too: instances behind every gateway, pinned.
pod1 ping /shop/b --pin 4 --record --count 3
# A caller that is registered goes on while its gateway's control plane is dead; one that comes later waits for it.
sg1=$(podman ps --format '{{.Names}}' --filter name=dmsc-check_sg1-control)
pod1 ping /shop/b --pin 4 --count 6 >"$work/ping" &
caller=$!
# The first answer says that it is registered.
for attempt in $(seq 50); do grep -q . "$work/ping" && break; sleep 0.1; done
podman kill --signal KILL "$sg1" >/dev/null
wait $caller || { cat "$work/ping"; echo "docker: calls failed without the control plane" >&2; exit 1; }
tail -n 1 "$work/ping"
podman start "$sg1" >/dev/null
pod1 call /shop/payment
echo "docker: ok"
