#!/usr/bin/env bash
# The head of a Ray cluster on Kubernetes: the command of Ray that KubeRay writes, and then the
# constellation, as soon as MACHINES machines are there, or after ten minutes with those that are.
# The container ends with Ray, or with status 1 when the constellation does not come up; SIGTERM
# stops the constellation first, so that running requests can finish.
set -uo pipefail

ip=$(hostname -i)
address=${ip%% *}:6379

stop() {
  constellation down
  kill "$ray"
  wait "$ray"
  exit 0
}

ulimit -n 65536 2> /dev/null || true  # more only where the container may
${KUBERAY_GEN_RAY_START_CMD:?KubeRay sets this variable} &
ray=$!
trap stop TERM INT

until ray health-check --address "$address" 2> /dev/null; do
  kill -0 "$ray" 2> /dev/null || exit 1
  sleep 1
done
python -m cluster.await_nodes "$address" --machines "${MACHINES:-1}" ||
  echo "starting with the machines that are there" >&2
constellation up --address "$address" --host "${ip%% *}" --replace || exit 1
wait "$ray"
