#!/usr/bin/env bash
# datasets/fetch on data sets of our own making: plain, .gz, archives, wrong sums, names. Needs no network.
set -eu
command -v curl >/dev/null || { echo "skipped: curl is not here"; exit 0; }
source=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/datasets" "$work/web" "$work/data/plain"
cp "$source/datasets/fetch" "$work/datasets/"
fetch() { XDG_CACHE_HOME=$work/cache DART_DATA=$work/data HOME=$work bash "$work/datasets/fetch" "$@"; }
fail() { echo "failed: $1" >&2; exit 1; }
sum() { sha256sum <"$1" | cut -d' ' -f1; }

seq 1000 >"$work/web/numbers"
(cd "$work/web" && tar -czf numbers.tgz numbers && gzip -k numbers)
if command -v python3 >/dev/null; then
    (cd "$work/web" && python3 -m zipfile -c numbers.zip numbers)
    kinds="tgz zip"
else
    kinds=tgz
fi
cases=0
for kind in $kinds; do
    echo "numbers sha1:$(sha1sum <"$work/web/numbers" | cut -d' ' -f1) 0 file://$work/web/numbers.$kind!numbers" \
        >"$work/datasets/$kind.recipe"
    folder=$(fetch "$kind" | tail -1)
    cmp -s "$folder/numbers" "$work/web/numbers" || fail "$kind"
    cases=$((cases + 1))
done
# a wheel, from a folder that pip takes for the index
if command -v python3 >/dev/null && python3 -m pip --version >/dev/null 2>&1; then
    mkdir -p "$work/wheel/numbers-1.2.dist-info" "$work/wheel/numbers"
    cp "$work/web/numbers" "$work/wheel/numbers/one"
    cp "$work/web/numbers.tgz" "$work/wheel/numbers/inner.tgz"
    printf 'Metadata-Version: 2.1\nName: numbers\nVersion: 1.2\n' >"$work/wheel/numbers-1.2.dist-info/METADATA"
    printf 'Wheel-Version: 1.0\nGenerator: us\nRoot-Is-Purelib: true\nTag: py3-none-any\n' >"$work/wheel/numbers-1.2.dist-info/WHEEL"
    printf 'numbers/one,,\nnumbers-1.2.dist-info/METADATA,,\nnumbers-1.2.dist-info/WHEEL,,\nnumbers-1.2.dist-info/RECORD,,\n' \
        >"$work/wheel/numbers-1.2.dist-info/RECORD"
    (cd "$work/wheel" && python3 -m zipfile -c "$work/web/numbers-1.2-py3-none-any.whl" numbers numbers-1.2.dist-info)
    echo "numbers $(sum "$work/web/numbers") 0 pypi:nonesuch==1!x pypi:numbers==1.2!numbers/one" >"$work/datasets/wheel.recipe"
    echo "numbers $(sum "$work/web/numbers") 0 pypi:numbers==1.2!numbers/inner.tgz!numbers" >"$work/datasets/wheel-inner.recipe"
    for kind in wheel wheel-inner; do
        folder=$(PIP_NO_INDEX=1 PIP_FIND_LINKS=$work/web fetch $kind | tail -1)
        cmp -s "$folder/numbers" "$work/web/numbers" || fail "a file of a wheel: $kind"
        cases=$((cases + 1))
    done
fi
echo "numbers $(sum "$work/web/numbers") 0 file:///nowhere" >"$work/datasets/plain.recipe"
cp "$work/web/numbers.gz" "$work/data/plain/"
folder=$(fetch plain | tail -1)
cmp -s "$folder/numbers" "$work/web/numbers" || fail "a .gz in DART_DATA"
cases=$((cases + 1))
echo "numbers sha1:0000000000000000000000000000000000000000 0 file://$work/web/numbers.tgz!numbers" >"$work/datasets/wrong.recipe"
status=0
fetch wrong 2>"$work/error" || status=$?
[ $status = 3 ] && grep -q "cannot get wrong: download file://.*tgz and put its numbers" "$work/error" || fail "a wrong sum: $status"
[ ! -e "$work/cache/dart-llm/datasets/wrong/numbers" ] || fail "a wrong file was kept"
cases=$((cases + 1))
status=0
fetch nonesuch 2>"$work/error" || status=$?
[ $status = 2 ] && grep -q "unknown data set 'nonesuch'; names: plain" "$work/error" || fail "an unknown name: $status"
cases=$((cases + 1))
# every name that the program knows has a recipe
while read -r name folder; do
    [ -f "$source/datasets/$folder.recipe" ] || fail "datasets/$folder.recipe is not there"
    cases=$((cases + 1))
done < <(sed -n 's/^DATASET(\([^,]*\), "[^"]*", "\([^"]*\)".*/\1 \2/p' "$source/frontend/data/datasets.def")
echo "$cases cases"
[ $cases -ge 12 ]
