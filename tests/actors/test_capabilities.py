"""What an engine cannot do is declared: nobody asks of which class an engine or a network is."""

import ast
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import actors
import constellation
from cluster.cli.output_format import kernels_table
from constellation.client.replies import KernelStatus
from constellation.records import (
    COORDIZER_TOKENS,
    EVERYTHING,
    FOREIGN_NETWORK,
    OWN_VOCABULARY,
    Capabilities,
    KernelDescription,
)
from constellation.v1 import constellation_pb2
from constellation.wire.descriptions import (
    declarations,
    declared,
    description_from_message,
    description_to_message,
)

SOURCES = [
    *(Path(actors.__file__).parent / "kernel").rglob("*.py"),
    *(Path(constellation.__file__).parent / "kernel").rglob("*.py"),
]
KINDS = ("Engine", "Network", "Kernel", "Stack", "Decoder", "Block", "Model")
"""Endings of names of classes of engines and networks."""


def questions_of_kind(source: str) -> list[str]:
    """Return the `isinstance` calls of a file that ask for a kind of engine or network."""
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    asked = (c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "isinstance")
    return [ast.unparse(c) for c in asked if ast.unparse(c.args[1]).endswith(KINDS)]


def test_nobody_asks_of_which_class_an_engine_or_a_network_is() -> None:
    assert SOURCES
    assert [q for path in SOURCES for q in questions_of_kind(path.read_text("utf-8"))] == []
    assert questions_of_kind("if not isinstance(engine, HuggingFaceEngine):\n    f()") != []


DESCRIPTION = KernelDescription(
    name="a",
    tokenizer_hash="t",
    context=8,
    num_parameters=1,
    pid=2,
    queue_depth=0,
    num_running=0,
    uptime_s=1.0,
    num_unexpected_errors=0,
)


@pytest.mark.parametrize(
    ("capabilities", "vocabulary"),
    [
        (EVERYTHING, COORDIZER_TOKENS),
        (OWN_VOCABULARY, "120 symbols"),
        (FOREIGN_NETWORK, "hugging face"),
        (Capabilities(scores=False, looks_inside=False), COORDIZER_TOKENS),
    ],
)
def test_what_a_kernel_declares_survives_the_way_through_messages(
    capabilities: Capabilities, vocabulary: str
) -> None:
    told = replace(DESCRIPTION, capabilities=capabilities, vocabulary=vocabulary)
    assert description_from_message(description_to_message(told)) == told
    status = constellation_pb2.KernelStatus(**declarations(capabilities, vocabulary))
    assert declared(status) == {"capabilities": capabilities, "vocabulary": vocabulary}


def test_a_kernel_that_can_do_everything_sends_the_bytes_of_earlier_versions() -> None:
    names = {field.name for field, _ in description_to_message(DESCRIPTION).ListFields()}
    assert names.isdisjoint({"capabilities", "vocabulary"})


def shown(*vocabularies: str) -> str:
    class Status:
        kernels = tuple(
            KernelStatus(
                name=f"kernel{number}",
                seat=None,
                endpoint=None,
                up=True,
                pid=1,
                num_restarts=0,
                num_routed=0,
                phi_gauge=None,
                basin_K=np.array([0.5, 0.5]),
                queue_depth=0,
                num_running=0,
                basins_BK=np.array([[0.5, 0.5]]),
                arrived=None,
                num_held_out=0,
                family=None,
                vocabulary=vocabulary,
            )
            for number, vocabulary in enumerate(vocabularies)
        )

    console = Console(width=200, record=True)
    console.print(kernels_table(Status()))  # type: ignore[arg-type]
    return console.export_text()


def test_status_names_vocabularies_where_there_are_several() -> None:
    assert "120 symbols" in shown(COORDIZER_TOKENS, "120 symbols")
    assert "vocabulary" not in shown(COORDIZER_TOKENS, COORDIZER_TOKENS)
