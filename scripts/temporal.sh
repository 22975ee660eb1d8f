#!/usr/bin/env bash
# Fetches Temporal's test server and its Python SDK, for the tests of other workflow engines:
#   target/temporal/server     the server's jars (crates/testkit/temporal/pom.xml)
#   target/temporal/python     an environment with the SDK, for crates/testkit/temporal/worker.py
# Safe to run again: what is there is left alone. Packages come from the registries that mvn and pip are configured for.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
base="$root/target/temporal"
pom="$root/crates/testkit/temporal/pom.xml"
. "$root/scripts/venv.sh"

if ! cmp -s "$pom" "$base/server/.installed"; then
    echo "temporal: fetching the test server"
    rm -rf "$base/server"
    mkdir -p "$base/server"
    mvn -q -B -f "$pom" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$base/server" >&2
    cp "$pom" "$base/server/.installed"
fi
venv temporal "$base/python" 'temporalio==1.35.*'
