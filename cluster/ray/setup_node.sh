#!/usr/bin/env bash
# Install Constellation on one machine of a Ray cluster; `ray up` runs this file on every machine.
#
# * Makes the virtual environment ~/.constellation/venv with the versions of constraints.txt. Where
#   this path is a symbolic link, as on a machine that was prepared with an environment, nothing is
#   installed.
# * Where `constellation certificates --per-node` made a certificate for this machine, that certificate
#   becomes secrets/node.crt and secrets/node.key.
# * Writes ~/.constellation/environment with the variables of all commands, for every shell. With
#   --ray-tls Ray's own calls are encrypted, too; the certificate must then name the address of every
#   machine, and Ray runs unencrypted where there is no certificate.
#
# Running the file again without other code changes nothing and takes a second.
set -euo pipefail

home=$HOME/.constellation
code=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
venv=$home/venv

fail() {
  echo "setup: $1" >&2
  exit 1
}

# Ray needs the same version of Python on every machine: the newest of these that is installed.
find_python() {
  local advice="install python3.12 and python3.12-venv" name
  for name in python3.12 python3.11 python3; do
    python=$(command -v "$name") && break
  done || fail "Python 3.11 or newer is needed; $advice"
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$("$python" --version) is older than 3.11; $advice"
}

# A digest of what is installed: this Python, the code and the pinned versions.
digest() {
  {
    "$python" --version
    cd "$code"
    find . -type f \( -name '*.py' -o -name '*.toml' -o -name constraints.txt \) -print0 |
      sort -z | xargs -0 sha256sum
  } | sha256sum
}

install_packages() {
  local wanted
  find_python
  wanted=$(digest)
  if [ "$(cat "$venv/installed" 2> /dev/null)" != "$wanted" ]; then
    "$python" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
      -c "$code/constraints.txt" "$code"
    echo "$wanted" > "$venv/installed"
  fi
}

pick_certificate() {
  local host
  for host in $(hostname) $(hostname -I 2> /dev/null); do
    if [ -r "$home/secrets/$host/node.key" ]; then
      cp "$home/secrets/$host/node.crt" "$home/secrets/$host/node.key" "$home/secrets/"
    fi
  done
}

umask 077
mkdir -p "$home/run"
chmod 700 "$home"
if [ ! -L "$venv" ]; then
  install_packages
fi
pick_certificate

cat > "$home/environment" << 'VARIABLES'
export PATH="$HOME/.constellation/venv/bin:$PATH"
# Ray: every call needs the token; no reports to its makers; workers are no less important than others.
export RAY_AUTH_MODE=token
export RAY_AUTH_TOKEN_PATH="$HOME/.constellation/secrets/ray_token"
export RAY_USAGE_STATS_ENABLED=0
export RAY_worker_niceness=0
# Sockets and logs of Ray lie where nobody else may enter: Ray opens its own folder to everybody.
export RAY_TMPDIR="$HOME/.constellation"
# Memory of Ray's and torch's processes, as in cluster/bootstrap.py.
export MALLOC_ARENA_MAX=1
export LRU_CACHE_CAPACITY=64
export ONEDNN_PRIMITIVE_CACHE_CAPACITY=64
# Settings of the commands `constellation`, on this machine.
export CONSTELLATION_ARTIFACTS="$HOME/.constellation/artifacts"
export CONSTELLATION_RUN_DIR="$HOME/.constellation/run"
export CONSTELLATION_SECURITY__TOKEN_FILE="$HOME/.constellation/secrets/token"
# TLS for clients and, with the authority of the deployment, between machines.
export CONSTELLATION_SECURITY__CERTIFICATE="$HOME/.constellation/secrets/node.crt"
export CONSTELLATION_SECURITY__KEY="$HOME/.constellation/secrets/node.key"
export CONSTELLATION_SECURITY__CA="$HOME/.constellation/secrets/authority.crt"
export CONSTELLATION_SECURITY__INTERNAL_CERTIFICATE="$HOME/.constellation/secrets/node.crt"
export CONSTELLATION_SECURITY__INTERNAL_KEY="$HOME/.constellation/secrets/node.key"
export CONSTELLATION_SECURITY__INTERNAL_CA="$HOME/.constellation/secrets/authority.crt"
VARIABLES

if [ "${1:-}" = --ray-tls ] && [ -r "$home/secrets/node.crt" ]; then
  cat >> "$home/environment" << 'VARIABLES'
export RAY_USE_TLS=1
export RAY_TLS_SERVER_CERT="$HOME/.constellation/secrets/node.crt"
export RAY_TLS_SERVER_KEY="$HOME/.constellation/secrets/node.key"
export RAY_TLS_CA_CERT="$HOME/.constellation/secrets/authority.crt"
VARIABLES
fi

line='[ -r ~/.constellation/environment ] && . ~/.constellation/environment'
grep -qxF "$line" ~/.bashrc 2> /dev/null || echo "$line" >> ~/.bashrc
