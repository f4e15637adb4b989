#!/usr/bin/env bash
# Start the constellation on the head of a Ray cluster, in the background; `ray up` runs this file on
# the head after Ray. The constellation is started when the machines are there that the configuration
# asks for, or after ten minutes with those that are there. What happens is in ~/.constellation/up.log.
set -euo pipefail

home=$HOME/.constellation
address=$(cat "$home/ray/ray_current_cluster")

umask 077
cd "$home"
setsid nohup bash -c '
  python -m cluster.await_nodes "$0" || echo "starting with the machines that are there"
  constellation up --address "$0" --host "${0%:*}" --replace
' "$address" > "$home/up.log" 2>&1 < /dev/null &
echo "the constellation starts when the machines are there; see ~/.constellation/up.log"
