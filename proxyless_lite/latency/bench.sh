#!/bin/sh
# Time the networks of this kit where there is no Python, with a benchmark program of a runtime. Run it again to go on after a cut.
#
#   sh bench.sh litert ./benchmark_model              TensorFlow Lite's, for the kit's format litert
#   sh bench.sh onnx ./onnxruntime_perf_test          ONNX Runtime's, for onnx or int8
#
# ROUNDS (5), THREADS (1) and SEED (0) are variables of the shell. Writes results-<format>.csv in the present folder.
set -eu
format=${1:?"usage: sh bench.sh <format> <program>; formats: onnx, int8, litert"} program=${2:?"usage: sh bench.sh <format> <program>"}
columns=round,item,ms,reference_ms
kit=$(cd "$(dirname "$0")" && pwd) rounds=${ROUNDS:-5} threads=${THREADS:-1} seed=${SEED:-0} out=results-$format.csv

fail() { echo "error: $1" >&2; exit 1; }

milliseconds() {  # of one run of a file, the mean that the program prints
  case $format in
    litert) said=$("$program" --graph="$1" --num_threads="$threads" --warmup_runs=3 --num_runs=10 --min_secs=0.2 2>&1 < /dev/null) || fail "$program failed: $said"
            echo "$said" | sed -n 's/.*Inference (avg): \([0-9.e+]*\).*/\1/p' | tail -n 1 | awk 'NF {printf "%.5g", $1 / 1000}' ;;
    *)      said=$("$program" -I -e cpu -m times -r 10 -x "$threads" -y 1 "$1" 2>&1 < /dev/null) || fail "$program failed: $said"
            echo "$said" | sed -n 's/.*Average inference time cost[^:]*: *\([0-9.e+]*\) *ms.*/\1/p' | tail -n 1 | awk 'NF {printf "%.5g", $1}' ;;
  esac
}

timed() {
  ms=$(milliseconds "$1") || exit 1
  [ -n "$ms" ] || fail "$program printed no time for $1"
  echo "$ms"
}

command -v "$program" > /dev/null || fail "$program is not here"
(cd "$kit" && sha256sum -c SHA256SUMS > /dev/null 2>&1) ||
  fail "not the files of this kit: $( (cd "$kit" && sha256sum -c SHA256SUMS 2>/dev/null) | grep -v ': OK$' | tr '\n' ' '); copy the kit once more"
items=$(sed -n "s| \($format/.*\)| \1|p" "$kit/items.txt")
[ -n "$items" ] || fail "this kit has no files for $format"
count=$(echo "$items" | wc -l)
identity=$(sha256sum "$kit/SHA256SUMS" | cut -d' ' -f1)
reference=$(sed -n 's/.*"reference": *\([0-9]*\).*/\1/p' "$kit/manifest.json")
reference=$kit/$(echo "$items" | sed -n "s|^$reference ||p")
device=$(getprop ro.product.model 2> /dev/null || uname -m)
about="\"kit\": \"$identity\", \"device\": \"$(basename "$program"), $format\", \"threads\": $threads, \"batch\": 1, \"seed\": $seed"
if [ -s "$out" ]; then
  head -n 1 "$out" | grep -qF "$about" && sed -n 2p "$out" | grep -qx "$columns" || fail "$out holds another measurement; move it away"
  [ -z "$(tail -c 1 "$out")" ] || sed -i '$d' "$out"  # cut while it was written
else
  machine="{\"processor\": \"$device\", \"system\": \"$(uname -srm)\"}"
  printf '%s\n' "# {$about, \"rounds\": $rounds, \"machine\": $machine, \"date\": \"$(date +%Y-%m-%d)\"}" "$columns" > "$out"
fi

round=0
while [ "$round" -lt "$rounds" ]; do
  echo "round $((round + 1)) of $rounds, $(date +%H:%M)"
  echo "$items" | awk -v seed=$((seed * 1000003 + round)) 'BEGIN {srand(seed)} {print rand(), $1, $2}' | sort -n | while read -r _ item file; do
    grep -q "^$round,$item," "$out" && continue
    first=$(timed "$kit/$file") || exit 1  # one by one: of several in a line only the last can fail
    beside=$(timed "$reference") || exit 1
    second=$(timed "$kit/$file") || exit 1
    again=$(timed "$reference") || exit 1
    echo "$round $item $first $second $beside $again" | awk '{print $1 "," $2 "," ($3 < $4 ? $3 : $4) "," ($5 < $6 ? $5 : $6)}' >> "$out"
  done
  round=$((round + 1))
done
echo "$count networks, $rounds rounds in $out; take it to where the kit was made: proxyless-latency import $out --kit <kit> --out table.csv"
