#!/usr/bin/env bash
# Install the wheel of this processor with its extras in an empty environment, away from the checkout, and run `c2t demo`
# there: bash packaging/release/demo_check.sh [FOLDER]. The demo's model lies in the wheel, its cells in scanpy's.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
folder=${1:-$(mktemp -d)}
[ $# -gt 0 ] || trap 'rm -rf "$folder"' EXIT
wheels=("$root"/dist/c2t-*manylinux*_"$(uname -m)".whl)
[ ${#wheels[@]} = 1 ] || { echo "not one wheel for this processor in dist/: ${wheels[*]}" >&2; exit 1; }

mkdir -p "$folder"
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install -q -c "$root/constraints.txt" "${wheels[0]}[cpu,demo,export]"
cd "$folder"
# Nothing of this machine's own Python may be found.
run=(env -i "HOME=$folder" "PATH=$folder/environment/bin:/usr/bin:/bin" LANG=C.UTF-8)
"${run[@]}" c2t demo -o demo >demo.txt
"${run[@]}" c2t verify demo/bundle
grep "cells never seen in training" demo.txt
"${run[@]}" c2t help problems | grep "^# Problems"
"${run[@]}" man -w c2t >/dev/null 2>&1 || ls environment/share/man/man1/c2t.1
