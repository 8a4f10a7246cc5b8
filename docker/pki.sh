#!/bin/sh
# Makes the credentials of compose.yaml in ./pki: one offline root, and what it certifies. Run once; again renews.
set -eu
case "${1:-}" in
-h | --help) echo "Usage: pki.sh [DMSCCTL]    (default: the dmscctl on the PATH, else the image dmsc-ctl)"; exit 0 ;;
esac
cd "$(dirname "$0")"
if [ -n "${1:-}" ]; then
    ctl() { "$program" "$@"; }
    program=$1
elif command -v dmscctl >/dev/null; then
    ctl() { dmscctl "$@"; }
else
    ctl() { docker run --rm --network none -v "$PWD:/work" -w /work dmsc-ctl "$@"; }
fi
[ -e pki/root/root.pem ] || ctl pki init pki/root --trust-domain figure2.dmsc.test
issue() { out=$1; shift; ctl pki issue --root pki/root --out "pki/$out" "$@"; }
issue sg1 node 1 sg
issue sg2 node 2 sg
issue sg3 node 3 sg
issue sg4 node 4 sg
issue sr1 node 5 sr
issue sr2 node 6 sr
issue sr3 node 7 sr
issue spa1 spa spa1 --subtree /shop
issue pod1-a pod pod1/a
issue pod1-b pod pod1/b
issue pod2-shop pod pod2/shop
issue pod3-shop pod pod3/shop
issue pod4-b pod pod4/b
issue pod1-caller pod pod1/caller
issue pod1-edge pod pod1/edge
issue pod4-web pod pod4/web
issue operator operator figure2 admin
