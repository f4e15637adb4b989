"""Cases that `schemathesis` makes of the HTTP door's own description: is every answer a typed one?

    python -m benchmarks.fuzz_schema --artifacts artifacts/starter --count 100000 --json

Needs the program `schemathesis` (PyPI, 4.32 or later; in any environment, named by
`--schemathesis`). Starts a constellation and runs it against the served `openapi.json` in rounds,
each with a seed of its own, until so many cases were sent: valid ones and broken ones, the first
round also its systematic ones. The description is narrowed to the models that are served, so that
valid cases reach a kernel, and what asks for a longer answer is sent asking for a few tokens.

`untyped` counts answers that are not as described (an error object with every error, the type of
content, the status), broken cases that were accepted, statuses from 500 on other than 503 and 504,
and errors that show a traceback; `hung` those that did not come within 30 s; `unexpected` is the
router's own count of errors that nobody intended. All should be 0. Valid cases that are refused are
no finding: rules between two fields are in words only.
"""

import base64
import json
import subprocess
import sys
import tempfile
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import fuzzing
from benchmarks.fuzzing import TIMEOUT_S, Send
from cluster.state_file import RunState

EXAMPLES = 1000
"""Random cases of an operation in a round."""
ROUND_S = 900.0
"""Seconds a round may take, many times what it needs."""
WORKERS = 4
TOKENS_MAX = 4
CHECKS = (
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
)
HOOKS = f"""
import schemathesis

@schemathesis.hook
def before_call(context, case, kwargs):
    body = case.body
    if not isinstance(body, dict) or not body.get("model"):
        return
    for name in ("max_tokens", "max_completion_tokens"):
        asked = body.get(name)
        if type(asked) is int and {TOKENS_MAX} < asked <= 4096:
            body[name] = {TOKENS_MAX}
    if "prompt" in body or "messages" in body:
        body.setdefault("max_tokens", {TOKENS_MAX})
"""
TYPED_FAILURES = (503, 504)


def main() -> None:
    """Run it and print the counts."""
    parser = fuzzing.parser(__doc__)
    parser.add_argument("--schemathesis", default="schemathesis", help="the program")
    arguments = parser.parse_args()

    def senders(state: RunState, run_dir: Path) -> Sequence[Send]:
        assert state.http is not None
        return [Rounds(arguments.schemathesis, state.http.removesuffix("/v1")).send]

    fuzzing.run(arguments, senders)


class Rounds:
    """Sends cases by a program, at one address."""

    def __init__(self, program: str, url: str) -> None:
        self._program = program
        self._url = url

    def send(self, seed: int, count: int) -> Counter[str]:
        """Send at least `count` cases; return how often they came to what."""
        seen: Counter[str] = Counter()
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "hooks.py").write_text(HOOKS, encoding="utf-8")
            (Path(folder) / "schemathesis.toml").write_text(
                'hooks = "hooks.py"\n', encoding="utf-8"
            )
            described = Path(folder) / "openapi.json"
            schema = narrowed(self._fetch("openapi.json"), self._models())
            described.write_text(json.dumps(schema), encoding="utf-8")
            num_rounds = 0
            while seen["inputs"] < count:
                seen += self._round(described, seed + num_rounds, is_first=num_rounds == 0)
                num_rounds += 1
                sys.stderr.write(f"round {num_rounds}: {dict(seen)}\n")
        return seen

    def _fetch(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self._url}/{path}", timeout=TIMEOUT_S) as reply:
            return json.load(reply)

    def _models(self) -> list[str]:
        return [model["id"] for model in self._fetch("v1/models")["data"]]

    def _round(self, described: Path, seed: int, *, is_first: bool) -> Counter[str]:
        told = described.with_name("told.ndjson")
        options = {
            "url": self._url,
            "seed": seed,
            "max-examples": EXAMPLES,
            "phases": "coverage,fuzzing" if is_first else "fuzzing",
            "checks": ",".join(CHECKS),
            "request-timeout": TIMEOUT_S,
            "report": "ndjson",
            "report-ndjson-path": told,
            "generation-database": "none",
            "suppress-health-check": "all",
            "workers": WORKERS,
        }
        done = subprocess.run(
            [self._program, "run", str(described), "--continue-on-failure", "--no-shrink"]
            + [f"--{name}={value}" for name, value in options.items()],
            capture_output=True,
            encoding="utf-8",
            timeout=ROUND_S,
            cwd=described.parent,
            check=False,
        )
        if done.returncode not in (0, 1):  # 1: findings
            raise SystemExit(f"schemathesis failed:\n{done.stdout}\n{done.stderr}")
        seen: Counter[str] = Counter()
        for recorder in recorders(told):
            seen += counted(recorder)
        if seen["untyped"] or seen["hung"]:
            sys.stderr.write(done.stdout)
        if not seen["inputs"]:
            raise SystemExit(f"schemathesis sent nothing:\n{done.stdout}\n{done.stderr}")
        return seen


def narrowed(document: Any, models: Sequence[str]) -> Any:
    """Return the description with models that exist."""
    for path in document["paths"].values():
        if "post" not in path:
            continue
        body = path["post"]["requestBody"]["content"]["application/json"]["schema"]
        fields = body["properties"]
        if "max_tokens" in fields:  # embeddings name their one model themselves
            fields["model"] = {"enum": list(models)}
    return document


def recorders(told: Path) -> Iterator[Any]:
    """Return what was sent and came back, operation by operation."""
    with told.open(encoding="utf-8") as lines:
        for line in lines:
            finished = json.loads(line).get("ScenarioFinished")
            if finished is not None:
                yield finished["recorder"]


def counted(recorder: Any) -> Counter[str]:
    """Return how often the cases of an operation came to what."""
    seen: Counter[str] = Counter(inputs=len(recorder["cases"]))
    for case, interaction in recorder["interactions"].items():
        response = interaction["response"]
        if response is None:
            seen["hung"] += 1
            continue
        status = response["status_code"]
        seen[str(status)] += 1
        failed = any(check["status"] == "failure" for check in recorder["checks"].get(case, ()))
        is_ours = status < 500 or status in TYPED_FAILURES
        said = base64.b64decode((response["content"] or {}).get("$base64", ""))
        shown = status >= 400 and b"Traceback" in said
        seen["untyped"] += failed or not is_ours or shown
    return seen


if __name__ == "__main__":
    main()
