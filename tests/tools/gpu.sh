#!/bin/bash
# tests/gpu: a packed folder has its libraries with it, and its steps come to what their summary says.
# usage: gpu.sh SOURCES BUILD
set -euo pipefail
sources=$1 build=$2
fail() { echo "gpu: $1" >&2; exit 1; }
command -v strip >/dev/null && command -v ldd >/dev/null || { echo "gpu: not tried: no binutils"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$sources/tests/gpu/pack" "$build" "$work/folder"
"$sources/tests/gpu/pack" "$build" "$work/folder" 2>/dev/null && fail "packed over a folder"
# none of the libraries comes from elsewhere, but those that belong to the system
elsewhere=$(LD_LIBRARY_PATH="$work/folder/lib" ldd "$work/folder/bin/dart-llm" | awk '$2 == "=>" { print $3 }' |
    grep -v "^$work" | grep -vE '/(libc|libm|libdl|libpthread|librt|libasan|libubsan)\.so' || true)
[ -z "$elsewhere" ] || fail "needs $elsewhere"
"$work/folder/run" --device cpu --small --minutes 4 --only devices,bench,profile "$work/out" >"$work/said" 2>&1 ||
    fail "$(cat "$work/said")"
for name in devices bench profile-cpu; do grep -q "^| $name | ok |" "$work/out/summary.md" || fail "$(cat "$work/said")"; done
for name in bench.json bench.html trace-cpu.json pictures/roofline.svg; do [ -s "$work/out/$name" ] || fail "no $name"; done
for line in "--nonsense" "--minutes x" "--device cpu $work/out"; do
    # shellcheck disable=SC2086 # words
    code=0 && "$work/folder/run" $line >/dev/null 2>&1 || code=$?
    [ $code = 2 ] || fail "'$line' ended with $code"
done
# a driver that nobody registered is found by its library, in both interfaces
mkdir "$work/drivers" && touch "$work/drivers/libGLX_nvidia.so.0" "$work/drivers/libnvidia-opencl.so.1"
sed "s|/usr/local/nvidia/lib64|$work/drivers|" "$work/folder/run" >"$work/folder/run-2" && chmod +x "$work/folder/run-2"
ldconfig -p | grep nvidia >/dev/null || {
    "$work/folder/run-2" --device cpu --only none "$work/out-2" >"$work/said" 2>&1 || fail "$(cat "$work/said")"
    grep -q "^Vulkan: $work/drivers/libGLX_nvidia.so.0" "$work/said" || fail "$(cat "$work/said")"
    grep -q "^OpenCL: $work/drivers/libnvidia-opencl.so.1" "$work/said" || fail "$(cat "$work/said")"
    grep -q "$work/drivers/libGLX_nvidia.so.0" "$work/out-2/nvidia_icd.json" || fail "no .json"
    grep -q "$work/drivers/libnvidia-opencl.so.1" "$work/out-2/vendors/nvidia.icd" || fail "no .icd"
}
sed -n '/^| step/,$p' "$work/out/summary.md"
