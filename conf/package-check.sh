#!/bin/sh
# Installs the package as a machine would: dpkg on a copy-on-write layer over this system, so that nothing here changes; then runs what it brought.
set -eu

case ${1:-} in
-h | --help) echo "Usage: package-check.sh [BIN]   makes the .deb of BIN's programs, installs it over a throw-away layer, verifies units and examples, and removes it again"; exit 0 ;;
esac
here=$(cd "$(dirname "$0")" && pwd)
[ "$(id -u)" = 0 ] || { echo "package: skipped: needs root for a layer over the file system"; exit 77; }
for need in dpkg-deb systemd-analyze unshare; do
    command -v $need >/dev/null || { echo "package: skipped: $need is not here"; exit 77; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
package=$("$here/package.sh" "$work" "$@")
echo "package: $(basename "$package") $(du -k "$package" | cut -f1) kB: $(dpkg-deb -f "$package" Depends)"

# All mounts are in a namespace of their own and go with it.
unshare --mount --propagation private sh -eu -c '
    work=$1 package=$2
    mount -t tmpfs none "$work" -o size=2g 2>/dev/null && mkdir "$work/up" "$work/tmp" "$work/root" &&
        mount -t overlay overlay -o lowerdir=/,upperdir="$work/up",workdir="$work/tmp" "$work/root" ||
        { echo "package: skipped: no overlay over / can be made here"; exit 77; }
    root=$work/root
    for kept in proc dev; do mount --rbind /$kept "$root/$kept"; done
    mount -t tmpfs none "$root/run"
    mount -t tmpfs none "$root/tmp"
    cat >"$root/tmp/dmsc.deb"
    cat >"$root/tmp/check" <<"CHECK"
set -eu
dpkg -i /tmp/dmsc.deb >/tmp/log 2>&1 || { cat /tmp/log; exit 1; }
getent passwd dmsc >/dev/null && getent passwd dmsc-spa >/dev/null && getent passwd dmsc-scsc >/dev/null || { echo "package: the users of the units were not made"; exit 1; }
for unit in dmsc-dataplane@sg1.service dmsc-controlplane@sg1.service dmsc-spa.service dmsc-scsc.service dmsc-edge.service; do
    systemd-analyze verify --man=no "/lib/systemd/system/$unit" 2>/tmp/said || true
    if grep -i "dmsc" /tmp/said; then echo "package: systemd does not take $unit"; exit 1; fi
done
cd /usr/share/doc/dmsc/examples
dmsc-dataplane --check --config sg1.dataplane.toml >/dev/null
dmsc-controlplane sg --check --config sg1.toml >/dev/null
dmsc-controlplane sr --check --config sr1.toml >/dev/null
dmsc-edge --check --config edge.toml >/dev/null
dmscctl --version && dmsc-pod --version && dmsc-edge --version
dpkg -r dmsc >/tmp/log 2>&1 || { cat /tmp/log; exit 1; }
left=$(ls /usr/bin/dmsc* 2>/dev/null) && { echo "package: left behind: $left"; exit 1; }
echo "package: installed, users made, units verified, examples checked, removed"
CHECK
    chroot "$root" /bin/sh /tmp/check
' sh "$work" "$package" <"$package"
