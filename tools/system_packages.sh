#!/usr/bin/env bash
# Install the Debian packages whose programs tests start: Chromium and Prometheus for the tests of
# watching; iproute2, OpenSSH and rsync for `make test-cluster`.
#
# Only missing packages are installed, without recommended packages, and no service is started.
# Status 0: all programs are there. Status 1: a program is missing; the last line says why, and the
# tests that need the program skip with a reason.
set -uo pipefail

# Package: the programs that the tests start.
declare -A PROGRAMS=(
  [chromium]="chromium" [prometheus]="prometheus promtool"
  [iproute2]="ip" [openssh-client]="ssh ssh-keygen" [openssh-server]="sshd" [rsync]="rsync"
)
LIMIT_S=180  # seconds for each of: list, download, install
SBIN=${SYSTEM_SBIN:-/usr/sbin}  # programs of the system, which are not on every user's PATH
POLICY=${POLICY_RC_D:-/usr/sbin/policy-rc.d}  # Debian asks this program before it starts a service

missing() {
  local package program
  for package in "${!PROGRAMS[@]}"; do
    for program in ${PROGRAMS[$package]}; do
      command -v "$program" "$SBIN/$program" > /dev/null || { echo "$package"; break; }
    done
  done | sort
}

give_up() {
  echo "system packages: $1; tests that need $(missing | paste -sd' ') skip" >&2
  exit 1
}

apt() {
  timeout --kill-after=10 "$LIMIT_S" "${AS_ROOT[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get -qq -o DPkg::Lock::Timeout=60 -o Acquire::Retries=1 -o Acquire::http::Timeout=20 \
    -o Dpkg::Use-Pty=0 "$@" < /dev/null > /dev/null
}

start_no_service() {
  [ -e "$POLICY" ] && return
  printf '#!/bin/sh\nexit 101\n' | "${AS_ROOT[@]}" tee "$POLICY" > /dev/null
  "${AS_ROOT[@]}" chmod +x "$POLICY"
  trap '"${AS_ROOT[@]}" rm -f "$POLICY"' EXIT
}

mapfile -t packages < <(missing)
[ "${#packages[@]}" -eq 0 ] && exit 0
command -v apt-get > /dev/null || give_up "there is no apt-get here"
AS_ROOT=()
if [ "$(id -u)" -ne 0 ]; then
  sudo -n true 2> /dev/null || give_up "apt-get needs root, and sudo asks for a password"
  AS_ROOT=(sudo -n)
fi

echo "system packages: installing ${packages[*]}" >&2
start_no_service
install=(install --yes --no-install-recommends)
apt update || echo "system packages: the list of packages could not be fetched again" >&2
# A download can be ended by its time limit without harm; what is installed has been downloaded.
apt "${install[@]}" --download-only "${packages[@]}" || give_up "apt-get downloads no ${packages[*]}"
apt "${install[@]}" --no-download "${packages[@]}" || give_up "apt-get installs no ${packages[*]}"
[ -z "$(missing)" ] || give_up "apt-get installed ${packages[*]}, but a program is not on the PATH"
