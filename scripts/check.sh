#!/usr/bin/env bash
# Format, lints, documentation and the instruction budget: everything that is checked without running a test.
# (Definitions under examples/ are checked by a test.) Shows each step's own last line.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# A minimal toolchain has neither.
for component in rustfmt clippy; do
    if ! cargo "${component/rustfmt/fmt}" --version >/dev/null 2>&1; then
        if command -v rustup >/dev/null; then
            rustup component add "$component"
        else
            echo "check: $component is missing; install it beside this toolchain ($(rustc --version))" >&2
            exit 2
        fi
    fi
done

echo "check: format"
cargo fmt --all -- --check
echo "check: lints"
cargo clippy --workspace --all-targets -- -D warnings
echo "check: documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps
echo "check: instructions of the state machine and the codec"
scripts/instructions.sh
echo "check: done"
