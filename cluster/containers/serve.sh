#!/usr/bin/env bash
# Run a constellation in the foreground, for containers: `constellation up` with the same arguments,
# then wait. SIGTERM stops the constellation and ends with status 0; if the constellation ends by
# itself, the status is 1, so that the container is started again.
set -uo pipefail

stop() {
  constellation down
  exit 0
}

constellation up "$@" || exit
trap stop TERM INT
pid=$(sed -n 's/.*"pid": \([0-9]*\).*/\1/p' "${CONSTELLATION_RUN_DIR:-runs/local}/constellation.json")
while kill -0 "$pid" 2> /dev/null; do
  sleep 1 &
  wait $!  # a signal ends this wait at once
done
echo "the constellation ended; its logs are in ${CONSTELLATION_RUN_DIR:-runs/local}/logs" >&2
exit 1
