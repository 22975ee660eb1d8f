#!/usr/bin/env bash
# Installs the official A2A Python SDK, both generations, for the tests of crates/a2a:
#   target/python-agents/v1    protocol 1.0, with the 0.3 compatibility layer
#   target/python-agents/v03   genuine protocol 0.3
# Safe to run again: a finished environment is left alone. Packages come from the registry that pip is configured for.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
base="$root/target/python-agents"
python="${PYTHON:-python3}"

install() { # name, requirements...
    local dir="$base/$1"
    shift
    local want="$*"
    if [ -x "$dir/bin/python" ] && [ "$(cat "$dir/.installed" 2>/dev/null)" = "$want" ]; then
        return
    fi
    echo "python-agents: installing $want"
    rm -rf "$dir"
    if ! "$python" -m venv "$dir" 2>/dev/null; then
        rm -rf "$dir"
        "$python" -m virtualenv -q "$dir" || {
            echo "python-agents: needs the venv module; on Debian: apt-get install python3-venv" >&2
            exit 1
        }
    fi
    "$dir/bin/python" -m pip install -q --disable-pip-version-check "$@"
    echo "$want" >"$dir/.installed"
}

install v1 'a2a-sdk[all]==1.3.*' 'uvicorn'
install v03 'a2a-sdk[http-server]<1' 'uvicorn'
