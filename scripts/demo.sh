#!/usr/bin/env bash
# The main job, from nothing: builds, starts `orchestra dev` and five agents as processes of their own, has them answer
# a question from a folder of documents, shows progress and report, and stops what it started.
#   DEMO_QUESTION='…' DEMO_FOLDER=path make demo    another question, another folder of text
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root="$PWD"

question="${DEMO_QUESTION:-How does durable execution survive a crash, when is it safe to repeat a call, and how do sagas undo finished work?}"
folder="$(cd "${DEMO_FOLDER:-examples/documents}" && pwd)"
bin="${CARGO_TARGET_DIR:-$root/target}/debug"
# How long anything may take to start, in seconds.
patience="${DEMO_PATIENCE:-60}"

cargo build -p orchestra -p orchestra-example-agents

began=$SECONDS
work="$(mktemp -d)"
agents=()
server=""

stop() {
    trap - EXIT
    # Agents first: they take themselves off the register.
    for pid in "${agents[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${agents[@]}"; do wait "$pid" 2>/dev/null || true; done
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' INT TERM

fail() {
    echo "demo: $1" >&2
    for log in "$work"/*.log; do
        [ -s "$log" ] && { echo "--- $(basename "$log")" >&2; tail -n 20 "$log" >&2; }
    done
    exit 1
}

# until_true WHAT COMMAND…: waits until the command succeeds.
until_true() {
    local what="$1" until=$((SECONDS + patience))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $until ] || fail "$what did not happen within $patience s"
        { [ -z "$server" ] || kill -0 "$server" 2>/dev/null; } || fail "the server ended"
        sleep 0.05
    done
}

echo
echo "== orchestra dev: every role in one process, free ports, data in a temporary folder"
"$bin/orchestra" dev --data "$work/data" --port 0 --grpc-port 0 --ready-file "$work/ready.json" >"$work/server.log" 2>&1 &
server=$!
until_true "the start of orchestra dev" test -e "$work/ready.json"
cat "$work/server.log"
http="$(sed 's/.*"http":"\([^"]*\)".*/\1/' "$work/ready.json")"
ORCHESTRA_SERVER="$(sed 's/.*"grpc":"\([^"]*\)".*/\1/' "$work/ready.json")"
export ORCHESTRA_SERVER

echo
echo "== five agents, each a process of its own; they speak A2A and register themselves"
ids=(supervisor researcher-1 researcher-2 researcher-3 analyzer)
for id in "${ids[@]}"; do
    kind="${id%-[0-9]}"
    "$bin/$kind-agent" --id "$id" --register "$http" >"$work/$id.log" 2>&1 &
    agents+=($!)
done
for id in "${ids[@]}"; do until_true "the registration of $id" "$bin/orchestra" agents get "$id"; done
"$bin/orchestra" agents list

echo
echo "== orchestra run examples/multi_agent_research.yaml"
echo "question: $question"
echo "folder:   ${folder#"$root"/}"
echo
"$bin/orchestra" run examples/multi_agent_research.yaml --set "question=$question" --set "folder=$folder" --follow ||
    fail "the execution did not complete"

stop
echo
echo "demo: done in $((SECONDS - began)) s after the build; everything it started is stopped"
