#!/bin/sh
# Run pytest with a home and a temporary folder of their own, gone afterwards: browsers, Prefect and caches leave
# things in both. It is a short path, since sockets are made there.
set -eu
folder=$(mktemp -d /tmp/rastersources-test-XXXXXX)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM
HOME="$folder" TMPDIR="$folder" .venv/bin/pytest "$@"
