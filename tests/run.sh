#!/bin/sh
# Run pytest with a home and a temporary folder of their own, gone afterwards: browsers, Prefect and caches leave
# things in both.
set -eu
folder=$(mktemp -d -t rastersources-test-XXXXXX)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM
HOME="$folder" TMPDIR="$folder" .venv/bin/pytest "$@"
