#!/usr/bin/env bash
# Line coverage of the brains, per crate and in total. Fails below COVERAGE_MIN (default 95) percent in total.
#
#   scripts/coverage.sh                  every brain there is
#   scripts/coverage.sh base workflow    only these crates
#   COVERAGE_FILES=1 scripts/coverage.sh also a line per file, least covered first
#
# Installs what it needs when it is missing: cargo-llvm-cov (from the package registry, into target/tools) and the llvm-tools
# component of the toolchain. Builds in target/coverage, so that the normal build stays as it is.
set -euo pipefail
cd "$(dirname "$0")/.."

tool_version=0.9.1
minimum="${COVERAGE_MIN:-95}"
crates=("$@")
if [ ${#crates[@]} -eq 0 ]; then
    crates=()
    for crate in base expr workflow language catalog balance schedule hooks policy scaling; do
        # A crate that is not needed yet does not exist yet.
        if [ -e "crates/$crate/Cargo.toml" ]; then crates+=("$crate"); fi
    done
fi

export PATH="$PWD/target/tools/bin:$PATH"
if ! cargo llvm-cov --version >/dev/null 2>&1; then
    echo "installing cargo-llvm-cov $tool_version into target/tools" >&2
    CARGO_TARGET_DIR=target/tools/build cargo install cargo-llvm-cov --version "$tool_version" --locked --quiet --root target/tools
    rm -rf target/tools/build
fi
bin="$(rustc --print target-libdir)/../bin"
if [ ! -x "$bin/llvm-profdata" ] && [ -z "${LLVM_PROFDATA:-}" ]; then
    if ! command -v rustup >/dev/null; then
        echo "coverage needs llvm-profdata and llvm-cov of LLVM $(rustc -vV | sed -n 's/^LLVM version: //p') (the one of rustc): install Rust with rustup, or name them in LLVM_PROFDATA and LLVM_COV" >&2
        exit 2
    fi
    rustup component add llvm-tools
fi

packages=()
for crate in "${crates[@]}"; do packages+=(-p "orchestra-$crate"); done
table="$(mktemp)"
trap 'rm -f "$table"' EXIT
# Line numbers come from the coverage map: debug information would only cost time and space here.
export CARGO_TARGET_DIR="$PWD/target/coverage" CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_TEST_DEBUG=0
# Counts of earlier runs would be added to this one.
cargo llvm-cov clean --profraw-only >&2
cargo llvm-cov test "${packages[@]}" --quiet --no-report >&2
cargo llvm-cov report "${packages[@]}" --json --summary-only >"$table"

# One object per file: its name, then "lines":{"count":…,"covered":…,…}.
grep -o '"filename":"[^"]*"\|"lines":{"count":[0-9]*,"covered":[0-9]*' "$table" | awk -v root="$PWD/crates/" -v names="${crates[*]}" \
    -v minimum="$minimum" -v files="${COVERAGE_FILES:-}" '
    BEGIN { n = split(names, order, " "); for (i = 1; i <= n; i++) wanted[order[i]] = 1 }
    /^"filename"/ { split($0, quoted, "\""); file = quoted[4]; next }
    file == "" { next }
    {
        gsub(/[^0-9,]/, ""); split($0, number, ",")
        lines = number[1]; covered = number[2]
        path = substr(file, 1, length(root)) == root ? substr(file, length(root) + 1) : ""
        split(path, part, "/"); crate = part[1]
        if (crate in wanted) {
            count[crate] += lines; hit[crate] += covered
            if (files && lines > 0) printf "%6.2f %%  %5d of %5d  %s\n", 100 * covered / lines, covered, lines, path | "sort -n"
        }
        file = ""
    }
    END {
        close("sort -n")
        printf "%-12s %8s %8s %10s\n", "crate", "lines", "missed", "covered"
        for (i = 1; i <= n; i++) {
            c = order[i]
            if (!count[c]) { printf "%-12s was not measured\n", c; bad = 1; continue }
            printf "%-12s %8d %8d %8.2f %%\n", c, count[c], count[c] - hit[c], 100 * hit[c] / count[c]
            all += count[c]; covered_all += hit[c]
        }
        share = all ? 100 * covered_all / all : 0
        printf "%-12s %8d %8d %8.2f %%\n", "total", all, all - covered_all, share
        if (share < minimum) { printf "below the minimum of %s %%\n", minimum; bad = 1 }
        exit bad
    }'
