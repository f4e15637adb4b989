"""Write the configuration of Prometheus for one running constellation: targets, rules, alerts.

The files of `cluster/prometheus/` are copied with the addresses of this constellation filled in.
"""

from importlib import resources
from pathlib import Path
from typing import Final

from constellation.atomic_files import write_whole
from constellation.errors import DeploymentError
from constellation.loopback import LOOPBACK_ADDRESS

FILES: Final = ("prometheus.yml", "recording.yml", "alerts.yml")
"""Files that Prometheus needs; `prometheus.yml` names the two others."""
DEFAULT_METRICS: Final = f"{LOOPBACK_ADDRESS}:50251"
"""Address of the launcher's metrics in the file as shipped: the one that no setting changes."""
_ALERTING: Final = """
alerting:
  alertmanagers:
    - static_configs:
        - targets: ["{address}"]
"""


def shipped(name: str) -> str:
    """Return the text of a file as it is shipped."""
    return (resources.files("cluster") / "prometheus" / name).read_text(encoding="utf-8")


def configuration_text(metrics: str, alertmanager: str | None = None) -> str:
    """Return the text of `prometheus.yml` for one constellation.

    Args:
        metrics: host:port of the launcher's metrics, which list the targets.
        alertmanager: host:port of an Alertmanager that gets the alerts; None sends them nowhere.
    """
    text = shipped("prometheus.yml").replace(DEFAULT_METRICS, metrics)
    return text if alertmanager is None else text + _ALERTING.format(address=alertmanager)


def write_configuration(folder: Path, metrics: str, alertmanager: str | None = None) -> Path:
    """Write the configuration and the rules into a folder; return the path of `prometheus.yml`.

    Args:
        folder: Made, for its user alone, when missing; files of these names are replaced.
        metrics: As in `configuration_text`.
        alertmanager: As in `configuration_text`.

    Raises:
        DeploymentError: The folder cannot be written to.
    """
    texts = {name: shipped(name) for name in FILES}
    texts[FILES[0]] = configuration_text(metrics, alertmanager)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, text in texts.items():
            write_whole(folder / name, text.encode())
    except OSError as error:
        raise DeploymentError(
            f"cannot write the configuration of Prometheus to {folder}: {error.strerror}; make "
            "room or choose another folder"
        ) from error
    return folder / FILES[0]
