#!/usr/bin/env bash
# Keep Ray running on a worker of own machines: start Ray when none runs, as after a reboot, or after
# the head had called this machine dead. constellation-worker.service runs this file.
# shellcheck disable=SC1090
. ~/.constellation/environment
ulimit -n 65536 2> /dev/null || true

while :; do
  if ! pgrep -u "$(id -u)" -x raylet > /dev/null; then
    ray start --address="$(cat ~/.constellation/head):6379" \
      --node-manager-port=6380 --object-manager-port=6381 --runtime-env-agent-port=6382 \
      --dashboard-agent-listen-port=6383 --dashboard-agent-grpc-port=6384 \
      --metrics-export-port=6385 \
      --min-worker-port=10002 --max-worker-port=19999 \
      --disable-usage-stats
  fi
  sleep 5
done
