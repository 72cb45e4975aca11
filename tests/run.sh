#!/bin/sh
# Run pytest with a home and a temporary folder of their own, gone afterwards: browsers, Prefect and caches leave
# things in both.
set -eu
folder=$(mktemp -d -t rastersources-test-XXXXXX)
chmod 711 "$folder" # tests that are root become somebody else for a moment, who must reach a folder of theirs in it
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM
unset PYTHONDONTWRITEBYTECODE # else each of hundreds of processes compiles our modules anew
unset SSL_CERT_FILE # no test speaks TLS: each client would read the certificates of the machine, which takes 30 ms
HOME="$folder" TMPDIR="$folder" SSL_CERT_DIR="$folder" .venv/bin/pytest "$@"
