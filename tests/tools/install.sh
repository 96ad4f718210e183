#!/bin/bash
# Installs into an empty folder, moves it, and uses it as others would: program, libraries, headers, pkg-config, CMake
# package, completions, data folder; then the examples, also under a locale with decimal commas.
# usage: install.sh SOURCE BUILD CC CXX|"" BUILD_TYPE
set -euo pipefail
source=$1 build=$2 cc=$3 cxx=$4 type=$5
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "install: $1" >&2; exit 1; }
[ "$type" = Release ] || { echo "install: a build of type $type names its files for debuggers"; exit 77; }

cmake --install "$build" --prefix "$work/first" >"$work/log" || fail "$(cat "$work/log")"
prefix=$work/moved
mv "$work/first" "$prefix"
lib=$(dirname "$(find "$prefix" -name libdart.so)")
export PKG_CONFIG_PATH=$lib/pkgconfig LD_LIBRARY_PATH=$lib HOME=$work XDG_CACHE_HOME=$work/cache
unset DART_DATA
program=$prefix/bin/dart-llm
cd "$work"

# ---- what is there ----
for file in include/dart.h include/dart/base.h bin/dart-llm share/man/man1/dart-llm.1 share/doc/dart-llm/LICENSE \
    share/bash-completion/completions/dart-llm share/zsh/site-functions/_dart-llm share/dart-llm/shaders/gemm.k \
    share/dart-llm/shaders/prelude/cl.h share/dart-llm/experiments/ptb/quickstart.yaml \
    share/dart-llm/datasets/ptb.recipe; do
    [ -s "$prefix/$file" ] || fail "$file is missing"
done
[ -x "$prefix/share/dart-llm/datasets/fetch" ] || fail "datasets/fetch is no program"
[ "$(readelf -d "$lib/libdart.so" | grep -c 'SONAME.*libdart.so.0')" = 1 ] || fail "no SONAME libdart.so.0"
readelf -d "$program" "$lib/libdart.so" | grep -E 'R(UN)?PATH' && fail "a library is looked for in a fixed folder"
for path in "$source" "$build" "$work/first"; do
    if grep -rIlF "$path" "$prefix"; then fail "$path stands in the files above"; fi
    find "$prefix" -type f | while read -r file; do
        if strings -a "$file" | grep -F "$path" >/dev/null; then fail "$path stands in $file"; fi
    done
done
python3 "$source/tests/dart/symbols.py" nm "$prefix/include" "$lib/libdart.so"
sh "$source/tests/dart/headers.sh" "$cc" "$cxx" "$prefix/include"
"$program" help --man | cmp - "$prefix/share/man/man1/dart-llm.1"
"$program" completion | cmp - "$prefix/share/bash-completion/completions/dart-llm"

# ---- a library folder that is given whole, as some distributions do: nothing in the pkg-config file may miss it ----
cmake -S "$source" -B absolute -G Ninja -DCMAKE_C_COMPILER="$cc" -DCMAKE_BUILD_TYPE=Release -DCMAKE_INSTALL_PREFIX=/opt/x \
    -DCMAKE_INSTALL_LIBDIR=/opt/x/lib/deep >"$work/log" 2>&1 || fail "$(cat "$work/log")"
mkdir -p "$work/opt/x/lib/deep/pkgconfig"
cp absolute/generated/install/dart-llm.pc "$work/opt/x/lib/deep/pkgconfig"
for pair in prefix= includedir=/include libdir=/lib/deep; do
    is=$(PKG_CONFIG_PATH=$work/opt/x/lib/deep/pkgconfig pkg-config --variable="${pair%%=*}" dart-llm)
    [ "$(realpath -m "$is")" = "$(realpath -m "$work/opt/x${pair#*=}")" ] || fail "${pair%%=*} of an absolute folder is $is"
done

# ---- the data folder ----
said=$("$program" train --dataset PTB --device cpu 2>&1 || true)
[[ $said == *"run \`$prefix/share/dart-llm/datasets/fetch ptb\`"* ]] || fail "the installed script is not named: $said"
said=$("$program" train --config experiments/ptb/quickstart.yaml --device cpu 2>&1 || true)
[[ $said == *"the data set ptb is not on this machine"* ]] || fail "an installed recipe is not found by its name: $said"
said=$("$program" sweep experiments/ptb/claim.yaml --list)
[[ $said == *found* ]] || fail "an installed sweep is not found by its name: $said"

# ---- the examples, both ways ----
awk 'BEGIN {
    split("the cat,a dog,the old man,one bird,my friend", who, ","); split("sees,likes,finds,follows", does, ",")
    split("the river,a stone,some bread,the long road,a house", what, ",")
    for (i = 0; i < 900; i++) {
        x = (x * 1103515245 + 12345) % 2147483648; y = int(x / 65536)
        print who[y % 5 + 1], does[int(y / 5) % 4 + 1], what[int(y / 20) % 5 + 1], "."
    } }' >text.txt
mkdir with-pkg-config
read -ra flags <<<"$(pkg-config --cflags --libs dart-llm)"
read -ra all <<<"$(pkg-config --libs --static dart-llm)"
warn=(-Wall -Wextra -Wpedantic -Werror)
for name in logits train; do
    "$cc" -std=c11 "${warn[@]}" "$source/examples/$name.c" -o "with-pkg-config/$name" "${flags[@]}" -lm
done
read -ra static <<<"-I$prefix/include -L$lib -Wl,-Bstatic -ldart -Wl,-Bdynamic ${all[*]/-ldart/}"
"$cc" -std=c11 "${warn[@]}" "$source/examples/train.c" -o with-pkg-config/train-static "${static[@]}"
ways=(with-pkg-config)
if [ -n "$cxx" ]; then
    "$cxx" -std=c++11 "${warn[@]}" "$source/examples/generate.cpp" -o with-pkg-config/generate "${flags[@]}"
    cmake -S "$source/examples" -B with-cmake -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_C_COMPILER="$cc" \
        -DCMAKE_CXX_COMPILER="$cxx" >"$work/log" && cmake --build with-cmake >>"$work/log" || fail "$(cat "$work/log")"
    ways+=(with-cmake)
fi

# run WAY: what the examples print, without times
run() {
    rm -rf run
    "$1/train" text.txt run cpu | sed 's/ took .*//'
    "$1/logits" run "the cat "
    [ -z "$cxx" ] || "$1/generate" run "the cat " 40 2>/dev/null
}
for way in "${ways[@]}"; do
    run "$way" >"$way.out" || fail "an example of $way failed: $(cat "$way.out")"
    mv run "$way.run"
done
with-pkg-config/train-static text.txt run cpu >static.out
cmp run/checkpoints/step-00000060/model.safetensors with-pkg-config.run/checkpoints/step-00000060/model.safetensors
grep -q "after tuning .*test perplexity" with-pkg-config.out || fail "no table: $(cat with-pkg-config.out)"
for way in "${ways[@]:1}"; do
    cmp "$way.out" with-pkg-config.out
    cmp "$way.run/checkpoints/step-00000060/model.safetensors" \
        with-pkg-config.run/checkpoints/step-00000060/model.safetensors
done
cat with-pkg-config.out

# ---- the program; the same again where numbers have commas ----
task() { # WORDS before the program
    local run=("$@" "$program")
    "${run[@]}" train --text text.txt --layers 1 --d-model 16 --heads 2 --context 8 --batch-size 4 --linear-modes 2 \
        --rank 4 --lambda-reg 0.01 --threshold 0.25 --max-steps 12 --device cpu --out task --force --quiet >/dev/null
    "${run[@]}" generate task --prompt "the cat" --tokens 20 --temperature 0.75 --seed 3 --device cpu --quiet
    "${run[@]}" eval task --json --device cpu --quiet | grep -v seconds
    "${run[@]}" inspect memory task --device cpu
}
task >point.out
mkdir point && mv task/metrics.jsonl task/spectra.jsonl task/checkpoints/step-00000012/model.safetensors point
rm -rf task
if localedef -i de_DE -f UTF-8 "$work/de_DE.UTF-8" >/dev/null 2>&1 || locale -a | grep -i 'de_DE.utf' >/dev/null; then
    commas=(env LOCPATH="$work" LC_ALL=de_DE.UTF-8 LANG=de_DE.UTF-8)
    [ -d "$work/de_DE.UTF-8" ] || commas=(env LC_ALL=de_DE.UTF-8)
    [ "$("${commas[@]}" bash -c 'printf %.1f 0,5' 2>/dev/null)" = 0,5 ] || fail "the locale has no decimal commas"
    task "${commas[@]}" >comma.out
    cmp point.out comma.out
    for file in metrics.jsonl spectra.jsonl checkpoints/step-00000012/model.safetensors; do
        cmp "task/$file" "point/$(basename "$file")"
    done
    echo "the same under de_DE.UTF-8"
else
    echo "no locale de_DE.UTF-8 and none can be made: not tried"
fi
echo "installed, built and run: ${ways[*]}"
