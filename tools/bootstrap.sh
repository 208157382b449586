#!/bin/sh
# Makes the environments this repository works in, each from its lock file, and nothing else on the machine.
#
#   sh tools/bootstrap.sh dev      .venv        tests, checks, benchmarks      requirements/dev.txt
#   sh tools/bootstrap.sh stack    .venv-stack  the local AWS, SAM, SeaweedFS  requirements/stack.txt
#   sh tools/bootstrap.sh tools    .venv-tools  uv alone, to lock and install  requirements/bootstrap.txt
#   sh tools/bootstrap.sh dashboard  dashboard/node_modules  what the page is made of and tested with  dashboard/package-lock.json
#   sh tools/bootstrap.sh python   prints the Python 3.13 that would be used
#
# A stamp holds the hash of the lock an environment was made from: asking again costs a few milliseconds.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
wanted=3.13

say() { printf '%s\n' "$*" >&2; }
die() { say "bootstrap: $*"; exit 1; }

# A shim on PATH is not a Python: only an interpreter that starts, is of the template's version and can make an environment counts.
starts() {
    "$1" -I -c "import sys, venv, ensurepip; sys.exit('%d.%d' % sys.version_info[:2] != '$wanted')" >/dev/null 2>&1
}

find_python() {
    for candidate in \
        "python$wanted" python3 \
        "${PYENV_ROOT:-$HOME/.pyenv}/versions/$wanted".*/bin/python3 \
        "/usr/local/bin/python$wanted" "/usr/bin/python$wanted" \
        "/opt/homebrew/bin/python$wanted" "/opt/python$wanted/bin/python3" "/opt/python/$wanted"*/bin/python3 /opt/python/cp313-cp313/bin/python3 \
        "/Library/Frameworks/Python.framework/Versions/$wanted/bin/python3" \
        "${XDG_DATA_HOME:-$HOME/.local/share}/uv/python/cpython-$wanted"*/bin/python3 \
        "${UV_PYTHON_INSTALL_DIR:-/opt/uv/python}/cpython-$wanted"*/bin/python3; do
        if starts "$candidate"; then
            "$candidate" -I -c 'import os, sys; print(os.path.realpath(sys.executable))'
            return 0
        fi
    done
    return 1
}

hash_of() {
    if command -v sha256sum >/dev/null 2>&1; then
        sha256sum "$1" | cut -d' ' -f1
    else
        shasum -a 256 "$1" | cut -d' ' -f1
    fi
}

fresh() { # fresh ENVIRONMENT LOCK: made from exactly this lock, and its interpreter is still there
    [ -x "$1/bin/python" ] && [ -f "$1/.lock-hash" ] && [ "$(cat "$1/.lock-hash")" = "$(hash_of "$2")" ]
}

need_python() {
    if [ -n "${STOCKTAKE_PYTHON:-}" ]; then
        starts "$STOCKTAKE_PYTHON" || die "STOCKTAKE_PYTHON is $STOCKTAKE_PYTHON, which is not a Python $wanted that starts"
        python=$STOCKTAKE_PYTHON
        return 0
    fi
    python=$(find_python) || die "needs Python $wanted with its venv module, and none was found that starts." \
        "Install it (Debian/Ubuntu: apt-get install python$wanted-venv; macOS: brew install python@$wanted; anywhere: pyenv install $wanted)" \
        "or name one: STOCKTAKE_PYTHON=/path/to/python$wanted"
}

make_tools() {
    env="$root/.venv-tools" lock="$root/requirements/bootstrap.txt"
    fresh "$env" "$lock" && return 0
    need_python
    rm -rf "$env"
    "$python" -m venv "$env" || die "$python could not make $env"
    "$env/bin/python" -m pip install -qq --disable-pip-version-check --require-hashes --only-binary :all: -r "$lock" \
        || die "uv could not be installed: see pip's message above"
    hash_of "$lock" >"$env/.lock-hash"
}

make_environment() { # make_environment NAME LOCK
    env="$root/$1" lock="$root/$2"
    fresh "$env" "$lock" && return 0
    began=$(date +%s)
    make_tools
    env="$root/$1" lock="$root/$2"
    if [ ! -x "$env/bin/python" ] || ! starts_in "$env/bin/python"; then
        need_python
        rm -rf "$env"
        "$root/.venv-tools/bin/uv" venv --quiet --no-project --python "$python" "$env" || die "could not make $1"
    fi
    rm -f "$env/.lock-hash"
    "$root/.venv-tools/bin/uv" pip sync --quiet --require-hashes --python "$env/bin/python" "$lock" \
        || die "$2 could not be installed into $1: see uv's message above"
    if [ "$1" = .venv ]; then
        # `stocktake`, the command line, of the sources as they are; its build needs nothing that the lock has not
        "$root/.venv-tools/bin/uv" pip install --quiet --no-deps --no-build-isolation --python "$env/bin/python" --editable "$root" \
            || die "the command line could not be installed into $1: see uv's message above"
    fi
    hash_of "$lock" >"$env/.lock-hash"
    say "bootstrap: $1 from $2 ($(($(date +%s) - began)) s)"
}

make_dashboard() { # of exactly its lock; npm runs none of the packages' scripts (dashboard/.npmrc)
    modules="$root/dashboard/node_modules" lock="$root/dashboard/package-lock.json"
    [ -f "$modules/.lock-hash" ] && [ "$(cat "$modules/.lock-hash")" = "$(hash_of "$lock")" ] && return 0
    command -v npm >/dev/null 2>&1 || die "needs npm (Node 20 or later) for the dashboard: apt-get install npm, or nodejs.org"
    (cd "$root/dashboard" && npm ci --silent) || die "dashboard/package-lock.json could not be installed: see npm's message above"
    hash_of "$lock" >"$modules/.lock-hash"
}

starts_in() { # an environment's own interpreter has no need of ensurepip
    "$1" -I -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$wanted')" >/dev/null 2>&1
}

# Two targets of one make may ask at once: the second waits and then finds the work done.
if [ "${STOCKTAKE_BOOTSTRAP_LOCKED:-}" != 1 ] && command -v flock >/dev/null 2>&1; then
    STOCKTAKE_BOOTSTRAP_LOCKED=1 exec flock "$root/tools/bootstrap.sh" sh "$0" "$@"
fi

[ $# -gt 0 ] || set -- dev
for what in "$@"; do
    case "$what" in
        dev) make_environment .venv requirements/dev.txt ;;
        stack) make_environment .venv-stack requirements/stack.txt ;;
        tools) make_tools ;;
        dashboard) make_dashboard ;;
        python) need_python && printf '%s\n' "$python" ;;
        *) die "unknown environment '$what': dev, stack, tools, dashboard or python" ;;
    esac
done
