#!/usr/bin/env bash
# Instruction budget of the state machine and the codec: counts the instructions of one execution of ten tasks in a
# simulated processor (valgrind), so that neither the clock nor other work on the machine matters, and compares them
# with bench/instructions.txt. More than SLACK percent above the budget fails; so much below asks for a lower budget.
# Another compiler than the one that the budget was counted with makes other code: its counts are shown, not judged.
#   UPDATE=1 scripts/instructions.sh    writes what it counted as the new budget
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
slack="${SLACK:-5}"
budget=bench/instructions.txt

command -v valgrind >/dev/null || { echo "instructions: valgrind is missing; scripts/setup.sh check installs it" >&2; exit 2; }
# The whole workspace: its features are those of `make test`, so nothing is built twice.
cargo build --quiet --workspace --example instructions
program="${CARGO_TARGET_DIR:-target}/debug/examples/instructions"

# Total of a whole process, start and set-up included.
total() {
    valgrind --tool=cachegrind --cache-sim=no --cachegrind-out-file=/dev/null "$program" "$1" "$2" 2>&1 |
        sed -n 's/.*I *refs: *//p' | tr -d ,
}

budgeted() { awk -v what="$1" '$1 == what { print $2 }' "$budget"; }

compiler="$(rustc --version | awk '{ print $2 }')-$(uname -m)"
judged="$(budgeted compiler)"
bad=0
counted=("compiler $compiler")
for what in step encode decode; do
    # Two runs that differ only in how often it is done: what they share drops out.
    few="$(total "$what" 10)"
    many="$(total "$what" 60)"
    each=$(((many - few) / 50))
    counted+=("$what $each")
    allowed="$(budgeted "$what")"
    if [ -n "${UPDATE:-}" ]; then
        echo "instructions: $what $each"
    elif [ -z "$allowed" ]; then
        echo "instructions: $what has no budget; UPDATE=1 scripts/instructions.sh writes one" >&2
        bad=1
    elif [ "$compiler" != "$judged" ]; then
        echo "instructions: $what $each by $compiler, of $allowed by $judged: not compared"
    elif [ $((each * 100)) -gt $((allowed * (100 + slack))) ]; then
        echo "instructions: $what takes $each, over the budget of $allowed by more than $slack %" >&2
        bad=1
    elif [ $((each * 100)) -lt $((allowed * (100 - slack))) ]; then
        echo "instructions: $what takes $each, well below $allowed: lower the budget with UPDATE=1 scripts/instructions.sh"
    else
        echo "instructions: $what $each of $allowed"
    fi
done
if [ -n "${UPDATE:-}" ]; then
    { grep '^#' "$budget"; printf '%s\n' "${counted[@]}"; } >"$budget.new"
    mv "$budget.new" "$budget"
fi
exit "$bad"
