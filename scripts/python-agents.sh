#!/usr/bin/env bash
# Installs the official A2A Python SDK, both generations, for the tests of crates/a2a:
#   target/python-agents/v1    protocol 1.0, with the 0.3 compatibility layer
#   target/python-agents/v03   genuine protocol 0.3
# Safe to run again: a finished environment is left alone. Packages come from the registry that pip is configured for.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
base="$root/target/python-agents"
. "$root/scripts/venv.sh"

venv python-agents "$base/v1" 'a2a-sdk[all]==1.3.*' 'uvicorn'
venv python-agents "$base/v03" 'a2a-sdk[http-server]<1' 'uvicorn'
