#!/usr/bin/env bash
# Install Constellation on one machine of a Ray cluster; `ray up` runs this file on every machine.
#
# Makes the virtual environment ~/.constellation/venv with the versions of constraints.txt, and the
# file ~/.constellation/environment, which every login shell reads. Running the file again without
# other code changes nothing and takes a second.
set -euo pipefail

home=$HOME/.constellation
code=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
venv=$home/venv
umask 077
mkdir -p "$home/run"
chmod 700 "$home"

# Ray needs the same version of Python on every machine; the newest of these that is installed.
python=$(for name in python3.12 python3.11 python3; do command -v $name && break; done) ||
  { echo "setup: Python 3.11 or newer is needed; install python3.12 and python3.12-venv" >&2; exit 1; }
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  { echo "setup: $("$python" --version) is older than 3.11; install python3.12 and python3.12-venv" >&2; exit 1; }

# What was installed, so that an unchanged machine installs nothing.
installed=$({ "$python" --version; cd "$code"; find . -type f \( -name '*.py' -o -name '*.toml' -o -name constraints.txt \) \
  -print0 | sort -z | xargs -0 sha256sum; } | sha256sum)
if [ "$(cat "$venv/installed" 2> /dev/null)" != "$installed" ]; then
  "$python" -m venv "$venv"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -c "$code/constraints.txt" "$code" "$@"
  echo "$installed" > "$venv/installed"
fi

cat > "$home/environment" << 'VARIABLES'
export PATH="$HOME/.constellation/venv/bin:$PATH"
# Ray: every call needs the token; no reports to its makers; workers with the priority of other programs.
export RAY_AUTH_MODE=token
export RAY_AUTH_TOKEN_PATH="$HOME/.constellation/secrets/ray_token"
export RAY_USAGE_STATS_ENABLED=0
export RAY_worker_niceness=0
# Memory of Ray's and torch's processes, as in cluster/bootstrap.py.
export MALLOC_ARENA_MAX=1
export LRU_CACHE_CAPACITY=64
export ONEDNN_PRIMITIVE_CACHE_CAPACITY=64
# Settings of the commands `constellation`, on this machine.
export CONSTELLATION_ARTIFACTS="$HOME/.constellation/artifacts"
export CONSTELLATION_RUN_DIR="$HOME/.constellation/run"
export CONSTELLATION_SECURITY__TOKEN_FILE="$HOME/.constellation/secrets/token"
VARIABLES

line='[ -r ~/.constellation/environment ] && . ~/.constellation/environment'
grep -qxF "$line" ~/.bashrc 2> /dev/null || echo "$line" >> ~/.bashrc
