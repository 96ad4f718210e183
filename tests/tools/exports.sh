#!/bin/sh
# exports.py with TensorBoard's own reader, installed from PyPI into a folder of the build; without it where that cannot
# be (no network, no venv), which is said. usage: exports.sh DART_LLM BUILD_FOLDER
set -u
here=$(dirname "$0")
python=python3
command -v "$python" >/dev/null || { echo "skipped: no python3"; exit 77; }
"$python" -c 'import csv, glob, json, subprocess' 2>/dev/null || { echo "skipped: only a minimal python3"; exit 77; }
venv=$2/tensorboard
if [ ! -e "$venv/ready" ]; then
    timeout 60 "$python" -m venv "$venv" >/dev/null 2>&1 &&
        timeout 150 "$venv/bin/pip" install -q --disable-pip-version-check --retries 1 --timeout 15 tensorboard==2.20.0 \
            >/dev/null 2>&1 && touch "$venv/ready"
fi
[ ! -e "$venv/ready" ] || python=$venv/bin/python
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" "$here/exports.py" "$1" "$folder"
