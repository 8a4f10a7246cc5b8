#!/bin/sh
# Stages what a router needs as it lies on a Debian machine, and makes a .deb of it where dpkg-deb is.
set -eu

usage() {
    cat <<TEXT
Usage: package.sh OUTDIR [BIN]
       package.sh --help

  OUTDIR   made if missing; gets root/ (the staged tree) and dmsc_VERSION_ARCHITECTURE.deb
  BIN      folder of the built programs (default: target/release, or CARGO_TARGET_DIR/release)

What is staged stands in conf/debian/install. Nothing outside of OUTDIR is touched.
Exit status: 0 done (a line says what was made); 1 a file is missing; 2 usage.
TEXT
}

case ${1:-} in
-h | --help) usage; exit 0 ;;
'' | -*) usage >&2; exit 2 ;;
esac
drivers='bus_pci bus_vdev mempool_ring net_af_packet net_af_xdp net_memif net_null net_pcap net_ring net_tap net_vhost net_virtio'
repository=$(cd "$(dirname "$0")/.." && pwd)
bin=${2:-${CARGO_TARGET_DIR:-$repository/target}/release}
bin=$(cd "$bin" 2>/dev/null && pwd) || { echo "package.sh: ${2:-$bin} is no folder; run make build first, or name the folder of the programs" >&2; exit 1; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
rm -rf "$out/root"

grep -v '^#' "$repository/conf/debian/install" | while read -r mode source destination; do
    case $source in
    BIN/*) file=$bin/${source#BIN/} ;;
    *) file=$repository/$source ;;
    esac
    [ -f "$file" ] || { echo "package.sh: $file is missing" >&2; exit 1; }
    install -D -m "$mode" "$file" "$out/root$destination"
done
install -d -m 0751 "$out/root/etc/dmsc"

if ! command -v dpkg-deb >/dev/null; then
    echo "staged in $out/root; no dpkg-deb here, so no package"
    exit 0
fi
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' "$repository/Cargo.toml")
architecture=$(dpkg --print-architecture)
# Shared libraries of the programs, and the drivers that DPDK loads at start, as packages of this machine.
depends=$(
    {
        for program in "$out"/root/usr/bin/*; do ldd "$program" 2>/dev/null || true; done | sed -n 's/.*=> \(\/[^ ]*\).*/\1/p'
        for driver in $drivers; do ls /usr/lib/*/dpdk/pmds-*/librte_"$driver".so.* 2>/dev/null || true; done
    } | sort -u |
        while read -r library; do
            # Since usr-merge the package database may know only the other path.
            for path in "$library" "${library#/usr}" "/usr$library" "$(realpath "$library")"; do
                dpkg-query -S "$path" 2>/dev/null && break
            done || true
        done | sed 's/:.*//' | sort -u | paste -sd, | sed 's/,/, /g'
)
install -d "$out/root/DEBIAN"
sed -e "s/@VERSION@/$version/" -e "s/@ARCHITECTURE@/$architecture/" -e "s/@DEPENDS@/${depends:-libc6}/" \
    "$repository/conf/debian/control.in" >"$out/root/DEBIAN/control"
install -m 0755 "$repository/conf/debian/postinst" "$out/root/DEBIAN/postinst"
package=$out/dmsc_${version}_$architecture.deb
# As Debian 12 reads it; xz takes minutes for what debuggers need of the programs' lines.
dpkg-deb --root-owner-group -Zzstd -z9 --build "$out/root" "$package" >/dev/null
rm -r "$out/root/DEBIAN"
echo "$package"
