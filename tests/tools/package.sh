#!/bin/bash
# Makes the Debian package and installs it into a fresh chroot, where nothing of the sources is: it brings what it needs,
# and lists devices, trains, generates. Exit code 77 and a sentence where that cannot be tried.
# usage: package.sh BUILD
set -euo pipefail
build=$1
skip() { echo "package: not tried: $1"; exit 77; }
fail() { echo "package: $1" >&2; exit 1; }
[ -f "$build/CPackConfig.cmake" ] || skip "this build is for this processor alone; use cmake --preset package"
for tool in cpack dpkg-deb dpkg-shlibdeps mmdebstrap; do command -v $tool >/dev/null || skip "there is no $tool"; done
[ "$(id -u)" = 0 ] || skip "a chroot needs root"
# shellcheck disable=SC1091
. /etc/os-release
[ "$ID" = debian ] || skip "this is no Debian"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cpack -G DEB --config "$build/CPackConfig.cmake" -B "$work" >"$work/log" 2>&1 || fail "$(tail -20 "$work/log")"
deb=$(echo "$work"/dart-llm_*.deb)
depends=$(dpkg-deb -f "$deb" Depends)
echo "$(basename "$deb"), $(stat -c %s "$deb") bytes, depends on: $depends"
for library in libc6 libopenblas0 liblapacke libjansson4 libyaml-0-2; do
    [[ $depends == *"$library "* || $depends == *"$library,"* ]] || fail "no dependency on $library"
done
[[ $depends == *vulkan* ]] || [ ! -e /usr/include/vulkan/vulkan.h ] || fail "no dependency on the Vulkan loader"
[[ $depends == *opencl* ]] || [ ! -e /usr/include/CL/cl.h ] || fail "no dependency on the OpenCL loader"
if dpkg-deb -c "$deb" | grep -vE ' \./(usr/.*)?$'; then fail "the files above are not below /usr"; fi

# What the chroot does with it.
cat >"$work/try" <<'END'
set -eu
apt-get install -y -q --no-install-recommends /dart-llm.deb >/tmp/log 2>&1 || { cat /tmp/log; exit 1; }
cd /tmp
dart-llm devices | grep '^cpu  *yes' >/dev/null
ldconfig -p | grep 'libdart.so.0 ' >/dev/null
cat /usr/share/common-licenses/GPL-3 /usr/share/common-licenses/Apache-2.0 >text.txt
dart-llm train --text text.txt --layers 1 --d-model 16 --heads 2 --context 16 --batch-size 4 --rank 4 --linear-modes 2 \
    --max-steps 12 --device cpu --out run --quiet | grep 'run directory'
dart-llm generate run --prompt "the" --tokens 10 --device cpu --quiet
dart-llm train --dataset ptb --device cpu 2>&1 | grep -o '/usr/share/dart-llm/datasets/fetch ptb'
dart-llm train --config experiments/ptb/quickstart.yaml --device cpu 2>&1 | grep 'data set ptb' >/dev/null
test -s /usr/share/man/man1/dart-llm.1 -o -s /usr/share/man/man1/dart-llm.1.gz || test ! -d /usr/share/man/man1
apt-get purge -y -q dart-llm >/dev/null 2>&1
test ! -e /usr/bin/dart-llm -a ! -e /usr/share/dart-llm
echo "installed, run and removed"
END
mirror=${DART_MIRROR:-http://deb.debian.org/debian}
if ! mmdebstrap --variant=apt --components=main --quiet \
    --customize-hook="copy-in $work/try /" --customize-hook="upload $deb /dart-llm.deb" \
    --customize-hook='chroot "$1" sh /try' "$VERSION_CODENAME" "$work/root.tar" "$mirror" >"$work/said" 2>&1; then
    grep -q "apt-get update.*failed\|Could not resolve\|Unable to connect" "$work/said" && skip "the registry cannot be reached"
    fail "$(tail -30 "$work/said")"
fi
grep -q "installed, run and removed" "$work/said" || fail "$(tail -30 "$work/said")"
grep -v "^\(W\|I\|E\|Get\|Hit\|Reading\|Building\|Selecting\|Preparing\|Unpacking\|Setting\)" "$work/said" | tail -12
