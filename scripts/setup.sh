#!/usr/bin/env bash
# Installs what a new Debian machine lacks. Says nothing when nothing is missing.
#   scripts/setup.sh build   a C compiler, for what is linked in
#   scripts/setup.sh check   also valgrind, which counts instructions
#   scripts/setup.sh bench   also PostgreSQL 15 and Redis
#   scripts/setup.sh test    also the Python agents, strace and Temporal's test server of the tests
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
what="${1:-build}"

if ! command -v cargo >/dev/null; then
    if [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]; then
        echo "setup: cargo is not in PATH; run: . \"${CARGO_HOME:-$HOME/.cargo}/env\"" >&2
    else
        echo "setup: Rust is missing; https://rustup.rs installs it" >&2
    fi
    exit 2
fi

missing=()
need() { missing+=("$@"); }

command -v cc >/dev/null || need gcc
[ -e /usr/include/stdlib.h ] || [ "$(uname -s)" != Linux ] || need libc6-dev
if [ "$what" = bench ] || [ "$what" = test ]; then
    # Debian keeps the server out of PATH.
    if ! command -v postgres >/dev/null && ! compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null; then
        need postgresql-15
    fi
    command -v redis-server >/dev/null || need redis-server
fi
if [ "$what" = check ]; then
    command -v valgrind >/dev/null || need valgrind
fi
if [ "$what" = test ]; then
    command -v strace >/dev/null || need strace
    python3 -c 'import venv, ensurepip' 2>/dev/null || need python3 python3-venv
    [ -d /etc/ssl/certs ] || need ca-certificates
    command -v java >/dev/null || need default-jre-headless
    command -v mvn >/dev/null || need maven
fi

if [ ${#missing[@]} -gt 0 ]; then
    run=()
    if [ "$(id -u)" -ne 0 ]; then
        if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
            run=(sudo -n)
        else
            echo "setup: missing: ${missing[*]}. As root: apt-get install -y --no-install-recommends ${missing[*]}" >&2
            exit 2
        fi
    fi
    if ! command -v apt-get >/dev/null; then
        echo "setup: missing: ${missing[*]} (names of Debian packages); install them with this system's package manager" >&2
        exit 2
    fi
    echo "setup: installing ${missing[*]}"
    # The tests start servers of their own; those of the packages stay off.
    settings=(env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1)
    "${run[@]}" apt-get update -qq
    "${run[@]}" "${settings[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

if [ "$what" = test ]; then
    scripts/python-agents.sh
    scripts/temporal.sh
fi
