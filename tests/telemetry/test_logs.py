"""Logs: one JSON object per line, a constant phrase with the facts as fields."""

import asyncio
import gc
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from constellation.telemetry.logs import JsonFormatter, set_up_logging

PACKAGES = ("constellation", "actors", "training", "cluster", "asyncio")


@pytest.fixture(autouse=True)
def loggers_as_before() -> Iterator[None]:
    before = {
        name: (logging.getLogger(name).handlers, logging.getLogger(name).propagate)
        for name in PACKAGES
    }
    levels = {name: logging.getLogger(name).level for name in PACKAGES}
    yield
    for name, (handlers, propagate) in before.items():
        logger = logging.getLogger(name)
        for handler in logger.handlers:
            if handler not in handlers:
                handler.close()
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(levels[name])


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_record_becomes_one_line_with_its_fields(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    set_up_logging(path)
    facts = {"kernel": "python", "attempt": 3, "delay_s": 4.0, "path": Path("a/b")}
    mark = {"_of_a_library": 1}
    logging.getLogger("actors.router.host").info("kernel\nrestarted", extra=facts | mark)
    (line,) = lines(path)
    assert line["message"] == "kernel\nrestarted"
    assert line["level"] == "info"
    assert line["logger"] == "actors.router.host"
    assert (line["kernel"], line["attempt"], line["delay_s"]) == ("python", 3, 4.0)
    assert line["path"] == "a/b"
    assert set(line) == {"time", "level", "logger", "message", *facts}


def test_a_traceback_is_part_of_its_line(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    set_up_logging(path)
    try:
        raise ZeroDivisionError("why")
    except ZeroDivisionError as error:
        logging.getLogger("constellation.x").error("failed", exc_info=error)
    (line,) = lines(path)
    assert "ZeroDivisionError: why" in line["traceback"]


def test_logs_are_appended_and_set_up_twice_they_are_written_once(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"message": "earlier"}\n')
    set_up_logging(path)
    first = logging.getLogger("cluster").handlers
    set_up_logging(path)
    for handler in first:
        handler.close()
    logging.getLogger("cluster").warning("later")
    assert [line["message"] for line in lines(path)] == ["earlier", "later"]


def test_the_level_decides_what_is_written(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    set_up_logging(path, level=logging.WARNING)
    logging.getLogger("training").info("quiet")
    logging.getLogger("training").warning("loud")
    assert [line["message"] for line in lines(path)] == ["loud"]


def test_without_a_file_logs_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(None)
    logging.getLogger("constellation").error("seen")
    assert json.loads(capsys.readouterr().err)["message"] == "seen"


@pytest.mark.slow
def test_a_result_that_nobody_looked_at_is_logged(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    set_up_logging(path)

    async def story() -> None:
        asyncio.get_running_loop().run_in_executor(None, lambda: 1 // 0)
        await asyncio.get_running_loop().shutdown_default_executor()
        await asyncio.sleep(0)

    asyncio.run(story())
    gc.collect()
    assert "ZeroDivisionError" in lines(path)[0]["traceback"]


def test_times_carry_their_offset() -> None:
    record = logging.makeLogRecord({"msg": "m", "created": 0.0})
    time = json.loads(JsonFormatter().format(record))["time"]
    assert time[4] == "-"
    assert time[-5] in "+-"


def test_a_record_that_cannot_be_written_goes_to_stderr_and_the_next_to_a_new_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "logs" / "log.jsonl"
    set_up_logging(path)
    logging.getLogger("actors").info("first")
    path.unlink()
    path.parent.rmdir()
    path.parent.write_text("no folder")
    logging.getLogger("actors").info("second")
    assert json.loads(capsys.readouterr().err)["message"] == "second"
    path.parent.unlink()
    logging.getLogger("actors").info("third")
    assert [line["message"] for line in lines(path)] == ["third"]
