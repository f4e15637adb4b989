"""The images are pinned, small and without root; what they copy and call is there.

`tools/clean_root.py` carries the steps out and runs the image: see `test_image_in_a_clean_root.py`.
"""

import re
import subprocess
import sys
import threading
import tomllib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cluster.health_check import URL, problem
from constellation.settings import Settings
from tools.dockerfile_steps import Step, steps

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "cluster" / "containers"
IMAGES = {path.stem: steps(path.read_text()) for path in sorted(FOLDER.glob("*.Dockerfile"))}

each_image = pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES)


def of(image: list[Step], word: str) -> list[Step]:
    return [step for step in image if step.word == word]


def last_stage(image: list[Step]) -> list[Step]:
    begins = max(number for number, step in enumerate(image) if step.word == "FROM")
    return image[begins:]


def test_there_is_an_image_for_processors_and_one_for_gpus_which_differ_in_torch_alone() -> None:
    assert sorted(IMAGES) == ["cpu", "gpu"]
    cpu, gpu = ({(step.word, step.value) for step in IMAGES[name]} for name in ("cpu", "gpu"))
    assert {word for word, _ in cpu ^ gpu} == {"ARG", "ENV", "RUN"}
    (torch,) = [value for word, value in gpu - cpu if word == "RUN"]
    assert torch.endswith("-c constraints.txt torch")


@each_image
def test_the_base_is_one_exact_version_of_a_slim_image(image: list[Step]) -> None:
    bases = {step.arguments()[0] for step in of(image, "FROM")}
    (base,) = bases
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", base)


@each_image
def test_every_package_has_the_version_of_the_constraints(image: list[Step]) -> None:
    installs = [step.value for step in of(image, "RUN") if "pip install" in step.value]
    assert installs
    assert all("-c constraints.txt" in each and "--no-cache-dir" in each for each in installs)


@each_image
def test_the_image_runs_as_a_user_without_rights(image: list[Step]) -> None:
    final = last_stage(image)
    assert [step.value for step in of(final, "USER")] == ["10001:10001"]
    after = final[final.index(of(final, "USER")[0]) :]
    assert of(after, "RUN") == of(after, "COPY") == []


@each_image
def test_only_folders_of_the_package_are_copied_and_none_is_missing(image: list[Step]) -> None:
    copied = {
        source
        for step in of(image, "COPY")
        if "from" not in step.flags()
        for source in step.arguments()[:-1]
    }
    assert [source for source in copied if not (ROOT / source).exists()] == []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["setuptools"]["packages"]["find"]["include"]
    assert {name.rstrip("*") for name in packages} <= copied
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    top = {source.split("/")[0] for source in copied}
    assert {f"!{name}" for name in top} == {line for line in allowed if line.startswith("!")}


@each_image
def test_ports_and_folders_are_those_of_the_settings(image: list[Step]) -> None:
    port = Settings.model_fields["serve"].default.port
    (opened,) = of(image, "EXPOSE")
    assert opened.value == f"{port} {port + 1}"
    assert URL.endswith(f":{port + 1}/health")
    set_here = {name for step in of(image, "ENV") for name in step.pairs()}
    known = {f"CONSTELLATION_{name.upper()}" for name in Settings.model_fields}
    assert {name for name in set_here if name.startswith("CONSTELLATION")} <= known


def test_an_unknown_instruction_of_a_dockerfile_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown instruction 'ADD'; known: ARG"):
        steps("FROM x\n# a comment\nADD a b\n")


class Health(BaseHTTPRequestHandler):
    """Answers /health as a router without kernels does, and /ready as one with kernels."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/ready" else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


def test_the_health_check_says_whether_and_why_not_by_its_exit_code() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Health) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            at = f"http://127.0.0.1:{server.server_port}"
            assert problem(f"{at}/ready") is None
            assert problem(f"{at}/health") == f"{at}/health answers with status 503"
            command = [sys.executable, "-m", "cluster.health_check"]
            ended = [
                subprocess.run(
                    [*command, f"{at}{path}"],
                    cwd=ROOT,
                    capture_output=True,
                    text=True,
                    timeout=60,
                    check=False,
                )
                for path in ("/ready", "/health")
            ]
        finally:
            server.shutdown()
            thread.join()
    assert [each.returncode for each in ended] == [0, 1]
    assert ended[1].stderr.strip().endswith("answers with status 503")
    assert "does not answer" in str(problem(f"{at}/ready"))


def test_the_health_check_refuses_an_address_of_another_kind() -> None:
    assert "is no address of a health check" in str(problem("file:///etc/passwd"))


@pytest.mark.parametrize("script", sorted(FOLDER.glob("*.sh")), ids=lambda path: path.name)
def test_scripts_of_the_images_are_valid_and_can_be_run(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True, timeout=30)
    assert script.stat().st_mode & 0o111
