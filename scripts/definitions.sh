#!/usr/bin/env bash
# Workflow definitions: those of examples/ and every *.orchestra.yaml, or the files that are named.
#   scripts/definitions.sh check [FILE…]   format and validity
#   scripts/definitions.sh fmt [FILE…]     formats them
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mode="${1:?check or fmt}"
shift

files=("$@")
if [ ${#files[@]} -eq 0 ]; then
    mapfile -t files < <(
        {
            find examples -type f \( -name '*.yaml' -o -name '*.yml' \)
            find . -path ./target -prune -o -name '*.orchestra.y*ml' -type f -print
        } | sort -u
    )
fi
[ ${#files[@]} -gt 0 ] || exit 0

orchestra() { cargo run --quiet -p orchestra -- "$@"; }
case "$mode" in
    fmt) orchestra fmt "${files[@]}" ;;
    check)
        orchestra fmt --check "${files[@]}"
        # Warnings are for those who write; here only what is wrong is shown.
        if ! said="$(orchestra validate "${files[@]}" 2>&1)"; then
            echo "$said" >&2
            exit 4
        fi
        echo "${#files[@]} definitions are formatted and valid"
        ;;
    *)
        echo "definitions: check or fmt, not $mode" >&2
        exit 2
        ;;
esac
