#!/bin/sh
# Unpacks wordmask.tar.xz beside this script (once) and runs parts of the check of a GPU; logs and lines go to a folder.
#   sh run.sh FOLDER PART...
# Parts, in the order in which they make sense:
#   cases      samples of the tensor core kernels on every tier, without Node
#   cards      every op on every tier against the reference and the CPU
#   systems    whole calls and training against the CPU
#   bench      every shape of the kernel catalogue, PyTorch beside it
#   quick      the same in a third of the time, encoders not compiled by PyTorch
#   smoke      the same with tiny shapes: whether everything runs
#   memcheck, racecheck   compute-sanitizer over the smallest samples, where it is installed
# WORDMASK_DEVICE names another device than cuda:0, WORDMASK_BUDGET the seconds of the bench.
set -u
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
shift
to=${WORDMASK_UNPACKED:-/tmp/wordmask}
device=${WORDMASK_DEVICE:-cuda:0}
if [ ! -e "$to/package.json" ]; then
  mkdir -p "$to"
  tar -xJf "$here/wordmask.tar.xz" -C "$to" 2>/dev/null || python3 -m tarfile -e "$here/wordmask.tar.xz" "$to" || exit 1
fi
cd "$to" || exit 1
chmod +x bin/node build/cmake/run_device_cases
# NVIDIA's library is a yardstick alone; packages of Python carry it where the toolkit is not installed.
library=$(find /usr/local /usr/lib /opt -name 'libcublasLt.so.1[23]' 2>/dev/null | head -n 1)
[ -n "$library" ] && export LD_LIBRARY_PATH="$(dirname "$library")${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
status=0

# log NAME COMMAND...: what it says goes to a file, its last lines to the output.
log() {
  name=$1
  shift
  echo "== $name"
  "$@" >"$out/$name.log" 2>&1
  code=$?
  [ $code -eq 0 ] || status=1
  grep -E '^(failed|FAIL|E_)|failed' "$out/$name.log" | head -n 20
  tail -n 4 "$out/$name.log"
  echo "== $name ended with $code"
}

module=build/Release/libwordmask-${device%%:*}.so
for part in "$@"; do
  case $part in
    cases)
      for tier in 3 2 1; do
        WORDMASK_CUDA_TIER=$tier log "cases-tier$tier" build/cmake/run_device_cases --module "$module" --partial build/cases
      done ;;
    cards) log cards bin/node build/ts/test/gpu/main.js cards --device "$device" --limit 120 ;;
    systems) log systems bin/node build/ts/test/gpu/main.js systems --device "$device" --limit 180 ;;
    bench) log bench bin/node build/ts/bench/gpu/main.js --device "$device" --budget "${WORDMASK_BUDGET:-480}" --out "$out/bench.jsonl" ;;
    quick) log quick bin/node build/ts/bench/gpu/main.js --device "$device" --quick --budget "${WORDMASK_BUDGET:-160}" --out "$out/quick.jsonl" ;;
    smoke) log smoke bin/node build/ts/bench/gpu/main.js --device "$device" --smoke --out "$out/smoke.jsonl" ;;
    memcheck | racecheck) log "$part" bin/node build/ts/test/gpu/main.js sanitizer --device "$device" --checks "$part" --limit 540 ;;
    *) echo "no part is called $part"; status=1 ;;
  esac
done
exit $status
