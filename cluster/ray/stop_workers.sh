#!/usr/bin/env bash
# Stop Ray on the workers of own machines; `ray down` stops Ray on the head only. On your machine:
#
#     ray exec machines.yaml 'bash ~/.constellation/code/cluster/ray/stop_workers.sh'
set -uo pipefail

workers=$(python - << 'READ'
import pathlib, yaml
found = yaml.safe_load(pathlib.Path("~/ray_bootstrap_config.yaml").expanduser().read_text())
for address in found["provider"].get("worker_ips", []):
    print(f"{found['auth']['ssh_user']}@{address}")
READ
) || exit 1

status=0
for worker in $workers; do
  ssh -i ~/ray_bootstrap_key.pem -o BatchMode=yes -o ConnectTimeout=5 -o StrictHostKeyChecking=no \
    -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR "$worker" \
    'systemctl --user stop constellation-worker 2> /dev/null
     . ~/.constellation/environment && ray stop --force' < /dev/null ||
    { echo "Ray on $worker was not stopped" >&2; status=1; }
done
exit $status
