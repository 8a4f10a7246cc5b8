#!/bin/sh
# Checks the DMSC packets of a capture with the Wireshark dissector, which knows nothing of the Rust parser.
set -eu

usage() {
    cat <<TEXT
Usage: check.sh FILE [UDP_PORT]

Decodes a pcap or pcapng FILE with tshark and dmsc.lua, prints how many packets of each type it holds, and exits with
1 if one is invalid (with its frame number and reason) or if there is none. UDP_PORT: 35029 unless given.

  dmscctl capture PORT > hop.pcapng; check.sh hop.pcapng
TEXT
}

case "${1:-}" in
-h | --help) usage; exit 0 ;;
'') usage >&2; exit 2 ;;
esac
file=$1
port=${2:-35029}
here=$(cd "$(dirname "$0")" && pwd)
[ -r "$file" ] || { echo "check.sh: cannot read $file" >&2; exit 2; }
command -v tshark >/dev/null || { echo "check.sh: tshark is missing: apt-get install tshark" >&2; exit 2; }

out=$(mktemp)
trap 'rm -f "$out"' EXIT
tshark -n -r "$file" -X "lua_script:$here/dmsc.lua" -o "dmsc.udp_port:$port" -Y dmsc -T fields -E separator='|' \
    -e frame.number -e dmsc.kind -e dmsc.invalid >"$out" 2>"$out.err" || { cat "$out.err" >&2; rm -f "$out.err"; exit 2; }
rm -f "$out.err"

awk -F'|' -v file="$file" '
BEGIN { split("request response echo-request echo-reply error hello probe", kinds, " ") }
{
    total++
    if ($3 != "") { invalid++; printf "frame %s: invalid: %s\n", $1, $3 }
    else counts[$2 + 1]++
}
END {
    printf "%s: dmsc=%d invalid=%d", file, total, invalid
    for (k = 1; k <= 7; k++) printf " %s=%d", kinds[k], counts[k]
    print ""
    if (total == 0) print "no DMSC packet: wrong UDP port or capture point?"
    exit (total == 0 || invalid > 0)
}' "$out"
