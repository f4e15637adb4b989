#!/usr/bin/env bash
# A worker of a Ray cluster on Kubernetes: the command of Ray that KubeRay writes.
ulimit -n 65536 2> /dev/null || true  # more only where the container may
exec ${KUBERAY_GEN_RAY_START_CMD:?KubeRay sets this variable}
