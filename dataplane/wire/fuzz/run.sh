#!/bin/sh
# Replays the committed corpora and fuzzes each target with libFuzzer, on stable Rust.
set -eu

usage() {
    cat <<TEXT
Usage: run.sh SECONDS [TARGET...]

Builds the fuzz targets (packet, payload, name_text) with coverage instrumentation, replays their corpora and fuzzes
each for SECONDS (0: replay only). One summary line per target; exits with 1 if one crashed and names the input.
Needs a C++ compiler. New inputs and crashes stay in the target directory (CARGO_TARGET_DIR, or target/fuzz of the
workspace), not in the committed corpora.

  dataplane/wire/fuzz/run.sh 10
  dataplane/wire/fuzz/run.sh 600 packet
TEXT
}

case "${1:-}" in
-h | --help) usage; exit 0 ;;
'' | *[!0-9]*) usage >&2; exit 2 ;;
esac
seconds=$1
shift
[ $# -gt 0 ] || set -- packet payload name_text
here=$(cd "$(dirname "$0")" && pwd)
target_dir=${CARGO_TARGET_DIR:-$here/../../../target}/fuzz
mkdir -p "$target_dir"
target_dir=$(cd "$target_dir" && pwd)
command -v c++ >/dev/null || { echo "fuzz: a C++ compiler is missing: apt-get install g++" >&2; exit 2; }

# What cargo-fuzz passes, in the spelling that stable takes.
flags='-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters'
flags="$flags -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing"
host=$(rustc -vV | sed -n 's/^host: //p')
# --target keeps the flags away from build scripts.
(cd "$here" && CARGO_TARGET_DIR=$target_dir RUSTFLAGS=$flags \
    cargo build --quiet --locked --release --target "$host") || { echo "fuzz: build failed" >&2; exit 2; }

failed=0
for target in "$@"; do
    binary=$target_dir/$host/release/$target
    [ -x "$binary" ] || { echo "fuzz: no target $target; there are packet, payload, name_text" >&2; exit 2; }
    corpus=$here/corpus/$target
    found=$target_dir/corpus/$target
    log=$target_dir/$target.log
    mkdir -p "$found" "$target_dir/artifacts"
    replayed=$(find "$corpus" -type f | wc -l)
    status=0
    "$binary" -runs=0 -artifact_prefix="$target_dir/artifacts/$target-" "$corpus" >"$log" 2>&1 || status=$?
    if [ $status = 0 ] && [ "$seconds" -gt 0 ]; then
        "$binary" -max_total_time="$seconds" -max_len=2048 -timeout=5 -rss_limit_mb=1024 -print_final_stats=1 \
            -artifact_prefix="$target_dir/artifacts/$target-" "$found" "$corpus" >>"$log" 2>&1 || status=$?
    fi
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    cover=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -1)
    if [ $status = 0 ]; then
        echo "fuzz: $target: ok (replayed=$replayed seconds=$seconds runs=${runs:-0} coverage=${cover:-0})"
    else
        failed=1
        artifact=$(sed -n 's/.*Test unit written to //p' "$log" | tail -1)
        echo "fuzz: $target: FAILED (replayed=$replayed input=${artifact:-none} log=$log)"
        grep -m 3 -E 'panicked|assertion|ERROR' "$log" || true
    fi
done
exit $failed
