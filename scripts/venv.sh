# Sourced by the scripts that need Python packages.

# venv WHO DIR REQUIREMENT...: a Python environment in DIR with these packages; WHO says what goes on. One that is
# finished is left alone, one that was interrupted or has other packages is made anew.
venv() {
    local who="$1" dir="$2" python="${PYTHON:-python3}"
    shift 2
    local want="$*"
    if [ -x "$dir/bin/python" ] && [ "$(cat "$dir/.installed" 2>/dev/null)" = "$want" ]; then
        return
    fi
    echo "$who: installing $want"
    rm -rf "$dir"
    if ! "$python" -m venv "$dir" 2>/dev/null; then
        rm -rf "$dir"
        "$python" -m virtualenv -q "$dir" || {
            echo "$who: needs the venv module; on Debian: apt-get install python3-venv" >&2
            exit 1
        }
    fi
    "$dir/bin/python" -m pip install -q --disable-pip-version-check "$@"
    echo "$want" >"$dir/.installed"
}
