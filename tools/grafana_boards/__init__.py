"""Make the Grafana dashboards of `cluster/grafana/dashboards` from Python; a development tool."""
