#!/bin/sh
# Run pytest with a home and a temporary folder of their own, gone afterwards: browsers, Prefect and caches leave
# things in both.
set -eu
folder=$(mktemp -d -t rastersources-test-XXXXXX)
chmod 711 "$folder" # tests that are root become somebody else for a moment, who must reach a folder of theirs in it
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM
unset PYTHONDONTWRITEBYTECODE # else each of hundreds of processes compiles our modules anew
HOME="$folder" TMPDIR="$folder" .venv/bin/pytest "$@"
