"""Tracing's settings, and what is said when its packages are missing."""

import sys

import pytest

from cluster.deployment_spec import tracing_of
from constellation.errors import ConfigError
from constellation.settings import TracingSettings
from constellation.telemetry.tracing import TracingOptions, check_installed, open_tracing

ENDPOINT = "http://127.0.0.1:9/v1/traces"


def test_without_an_endpoint_there_is_none() -> None:
    assert tracing_of(TracingSettings()) is None


def test_an_endpoint_is_kept_as_it_is() -> None:
    options = tracing_of(TracingSettings(endpoint=ENDPOINT, sample_ratio=0.5))
    assert options == TracingOptions(endpoint=ENDPOINT, sample_ratio=0.5)


@pytest.mark.parametrize("package", ["opentelemetry.exporter.otlp.proto.http", "opentelemetry.sdk"])
def test_missing_packages_are_an_error_at_the_start_that_says_what_to_install(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=r"pip install -e '\.\[tracing\]'"):
        tracing_of(TracingSettings(endpoint=ENDPOINT))
    with pytest.raises(ConfigError, match="not installed"):
        open_tracing(
            TracingOptions(endpoint=ENDPOINT),
            service="s",
            instance="i",
            count=lambda outcome, num: None,
        )


def test_looking_for_the_packages_is_enough_when_they_are_there() -> None:
    check_installed()


@pytest.mark.parametrize("options", [{"endpoint": "collector:4318"}, {"sample_ratio": 1.1}])
def test_options_out_of_range_are_refused(options: dict[str, str | float]) -> None:
    with pytest.raises(ConfigError, match="tracing"):
        TracingOptions(**{"endpoint": ENDPOINT, **options})  # type: ignore[arg-type]
