#!/bin/sh
# Stages the root file systems of the images: a program, the shared libraries that it needs, and nothing else but a shell.
set -eu

usage() {
    cat <<TEXT
Usage: rootfs.sh BIN OUT [IMAGE...]

Makes OUT/<image>/ for each image (default: all) from the programs in BIN (target/release after 'make build').
The Dockerfile runs this in its build stage, docker/check.sh on the machine that it checks: the same files either way.

  dataplane      dmsc-dataplane, DPDK's libraries and drivers, port-init
  controlplane   dmsc-controlplane (sg, sr, spa)
  pod            dmsc-pod, ethtool
  edge           dmsc-edge, ethtool, nft
  ctl            dmscctl

Needs busybox-static and the runtime packages of libdpdk (apt-get install busybox-static ethtool nftables libdpdk-dev).
TEXT
}

case "${1:-}" in
-h | --help) usage; exit 0 ;;
esac
[ $# -ge 2 ] || { usage >&2; exit 2; }
bin=$1 out=$2
shift 2
[ $# -gt 0 ] || set -- dataplane controlplane pod edge ctl
here=$(cd "$(dirname "$0")" && pwd)
busybox=$(command -v busybox) || { echo "rootfs: busybox is missing: apt-get install busybox-static" >&2; exit 1; }
# Drivers that a router uses in containers and on servers; each adds what it links to.
drivers="bus_pci bus_vdev mempool_ring net_af_packet net_af_xdp net_memif net_null net_pcap net_ring net_tap net_vhost net_virtio
         net_e1000 net_ena net_i40e net_iavf net_ice net_ixgbe net_mlx5 net_vmxnet3 common_mlx5 common_iavf bus_auxiliary"

# Copies a file to the same place below $root. Links stay links: a driver that is there twice as a file registers itself twice, and DPDK panics.
place() {
    real=$(readlink -f "$1")
    mkdir -p "$root$(dirname "$1")" "$root$(dirname "$real")"
    [ -e "$root$real" ] || cp "$real" "$root$real"
    [ "$1" = "$real" ] || [ -e "$root$1" ] || ln -s "$real" "$root$1"
}

# The shared libraries of files, as the loader finds them.
libraries() {
    for file in "$@"; do ldd "$file" 2>/dev/null || true; done |
        sed -n -e 's/.* => \(\/[^ ]*\) .*/\1/p' -e 's/^[[:space:]]*\(\/[^ ]*\) (.*/\1/p' | sort -u
}

for image in "$@"; do
    case $image in
    dataplane) program=dmsc-dataplane ;;
    controlplane) program=dmsc-controlplane ;;
    pod) program=dmsc-pod ;;
    edge) program=dmsc-edge ;;
    ctl) program=dmscctl ;;
    *) echo "rootfs: there is no image $image" >&2; usage >&2; exit 2 ;;
    esac
    [ -x "$bin/$program" ] || { echo "rootfs: $bin/$program is missing: run 'make build' first" >&2; exit 1; }
    root=$out/$image
    rm -rf "$root"
    mkdir -p "$root/usr/lib" "$root/usr/lib64"
    ln -s usr/lib "$root/lib"
    ln -s usr/lib64 "$root/lib64"
    mkdir -p "$root/bin" "$root/usr/bin" "$root/etc/dmsc" "$root/run/dmsc" "$root/var/lib/dmsc" "$root/var/run" "$root/tmp" "$root/proc" "$root/sys" "$root/dev"
    cp "$bin/$program" "$root/usr/bin/"
    strip --strip-debug "$root/usr/bin/$program" 2>/dev/null || true
    cp "$busybox" "$root/bin/busybox"
    for tool in sh cat ls ip sed grep sleep httpd wget; do ln -s busybox "$root/bin/$tool"; done
    printf 'root:x:0:0:root:/:/bin/sh\ndmsc:x:999:999:dmsc:/:/bin/sh\n' >"$root/etc/passwd"
    printf 'root:x:0:\ndmsc:x:999:\n' >"$root/etc/group"
    files=$bin/$program
    case $image in
    # Whoever speaks for a pod runs it to switch checksum offload off: without, the pod's packets and connections are dropped at the gateway.
    pod) tools=ethtool ;;
    # And the rules that redirect connections of programs which know nothing of names.
    edge) tools="ethtool nft" ;;
    *) tools= ;;
    esac
    for tool in $tools; do
        found=$(PATH=$PATH:/usr/sbin:/sbin command -v $tool) || { echo "rootfs: $tool is missing: apt-get install ethtool nftables" >&2; exit 1; }
        cp "$found" "$root/usr/bin/$tool"
        files="$files $found"
    done
    if [ $image = dataplane ]; then
        cp "$here/port-init" "$root/usr/bin/port-init"
        # DPDK loads its drivers from this folder at start.
        folder=$(ls -d /usr/lib/*/dpdk/pmds-* | tail -1)
        for driver in $drivers; do
            for file in "$folder/librte_$driver.so".*; do
                [ -e "$file" ] || continue
                place "$file"
                files="$files $file"
            done
        done
    fi
    for library in $(libraries $files); do place "$library"; done
    # The loader's path is not below the library folder.
    [ -e /lib64/ld-linux-x86-64.so.2 ] && place /lib64/ld-linux-x86-64.so.2
    if [ -x /sbin/ldconfig ]; then /sbin/ldconfig -r "$root" 2>/dev/null || true; fi
    echo "rootfs: $image: $(du -sh "$root" | cut -f1) in $root"
done
