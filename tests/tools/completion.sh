#!/bin/bash
# What bash and, where it is installed, zsh offer behind words of a command line.
# usage: completion.sh DART_LLM
set -euo pipefail
program=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/bin"
ln -s "$program" "$work/bin/dart-llm"
PATH=$work/bin:$PATH
cd "$work"
mkdir folder
touch recipe.yaml other.yml text.txt
count=0

bash_offers() { # words of the line; the last one is being written
    COMP_WORDS=(dart-llm "$@")
    COMP_CWORD=$#
    COMPREPLY=()
    _dart_llm 2>/dev/null
    echo "${COMPREPLY[*]}"
}

# expect SHELL 'line' offered... [-- not offered...]
expect() {
    local shell=$1 line=$2 got good=1 word wanted=1
    shift 2
    read -ra words <<<"$line"
    [[ $line != *' ' ]] || words+=('')
    got=" $("${shell}_offers" "${words[@]}") "
    for word in "$@"; do
        if [ "$word" = -- ]; then wanted=0; continue; fi
        if [[ $got == *" $word "* ]]; then [ $wanted = 1 ] || good=0; else [ $wanted = 0 ] || good=0; fi
    done
    [ $good = 1 ] || { echo "$shell: dart-llm $line offers:$got, expected: $*"; exit 1; }
    count=$((count + 1))
}

both() { for shell in "${shells[@]}"; do expect "$shell" "$@"; done; }

shells=(bash)
dart-llm completion bash >"$work/complete.bash"
# shellcheck disable=SC1091
source "$work/complete.bash"
if command -v zsh >/dev/null; then
    shells+=(zsh)
    dart-llm completion zsh >"$work/_dart-llm"
    zsh -n "$work/_dart-llm"
    # compadd and _files, as the function calls them, say what they were given
    cat >"$work/ask.zsh" <<'END'
compdef() { : }
compset() { words[CURRENT]=${words[CURRENT]#*=} }
compadd() { shift; for w in "$@"; do [[ $w != ${words[CURRENT]}* ]] || print -n -- "$w "; done }
_files() { if [[ $1 == -g ]]; then print -n -- *.(yaml|yml) "folder "; else print -n -- *; fi }
source $1
words=(dart-llm "${@:2}")
CURRENT=$#words
_dart_llm
END
    zsh_offers() { zsh -f "$work/ask.zsh" "$work/_dart-llm" "$@"; }
fi

both 'tr' train translate -- eval
both 'train --dev' --device -- --dataset
both 'train --device ' cpu
both 'bench --device ' cpu all
both 'train --dataset ' ptb multi30k-de-en
both 'train --dataset pt' ptb ptb-char -- multi30k-de-en
both 'train --arch ' gpt llama encoder-decoder
both 'train --arch g' gpt -- llama
both 'train --learning_rate ' -- recipe.yaml
both 'train --norm_position ' pre post
both 'generate --overflow ' slide shift stop
both 'eval --level ' word char byte
both 'kernels --for ' amd pi4 all
both 'bench --format ' md csv json jsonl sql
both 'train --config ' recipe.yaml other.yml folder -- text.txt
both 'train --text ' text.txt recipe.yaml
both 'inspect pa' paths
both 'help gen' generate
both 'completion ' bash zsh
expect bash 'train --arch = g' gpt -- llama
[ ${#shells[@]} = 1 ] || expect zsh 'train --arch=g' gpt -- llama
dart-llm completion fish 2>/dev/null && exit 1
echo "$count lines completed by ${shells[*]}"
[ "$count" -ge 20 ]
