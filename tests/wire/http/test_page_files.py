"""The page and its data: what is open, what asks for the token, and what a browser may do."""

import re
from collections.abc import Iterator

import pytest

from constellation.wire.channel import Bind
from constellation.wire.http.page_files import FOLDER, read_page
from tests.wire.fakes import NAMES
from tests.wire.http.doors import Door
from tools.page_seats import FILE, seats_json

TOKEN = "a secret of many characters"
BYTES_MAX = 200_000
DATA = ("/status.json", "/status/events")


@pytest.fixture(scope="module")
def guarded() -> Iterator[Door]:
    with Door(Bind(token=TOKEN)) as door:
        yield door


def test_all_files_together_are_small() -> None:
    files = read_page()
    assert 0 < sum(len(file.data) for file in files.values()) <= BYTES_MAX
    assert len(files) == len(list(FOLDER.iterdir()))


def test_the_seats_of_the_page_are_the_roots_of_the_geometry() -> None:
    assert FILE.read_text(encoding="utf-8") == seats_json()


def test_every_file_that_a_file_names_is_served_and_none_is_elsewhere() -> None:
    files = read_page()
    named = set()
    for file in files.values():
        text = file.data.decode()
        named |= set(re.findall(r"""(?:href|src)="(/page/[^"]*)\"""", text))
        named |= {f"/page/{name}" for name in re.findall(r'from "\./([^"]+)"', text)}
        elsewhere = re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]+[^\s\"']*", text)
        assert set(elsewhere) <= {"http://www.w3.org/2000/svg"}
    assert named <= set(files)
    assert set(files) - named <= {"/"}


def test_the_browser_may_load_from_this_server_only_and_runs_no_inline_script(door: Door) -> None:
    page = door.call("GET", "/")
    assert page.status == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(
        each.strip().split(" ", 1) for each in page.headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert set(policy.values()) == {"'none'", "'self'"}
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in page.headers
    text = page.body.decode()
    assert not re.search(r"\son[a-z]+=|\sstyle=|<style|<script(?![^>]* src=)", text)


def test_a_file_that_the_browser_holds_is_not_sent_again(door: Door) -> None:
    first = door.call("GET", "/page/main.js")
    assert first.headers["cache-control"] == "no-cache"
    known = {"If-None-Match": f'"other", W/{first.headers["etag"]}'}
    again = door.call("GET", "/page/main.js", headers=known)
    assert (again.status, again.body) == (304, b"")
    assert door.call("GET", "/page/main.js", headers={"If-None-Match": '"x"'}).status == 200


def test_head_is_answered_and_other_files_are_not_there(door: Door) -> None:
    assert door.call("HEAD", "/").status == 200
    assert door.call("HEAD", "/status/events").status == 200
    for path in ("/page/", "/page/../server.py", "/page/%2e%2e/server.py", "/page/none.js"):
        assert door.call("GET", path).status == 404


def test_static_files_are_open_and_data_ask_for_the_token(guarded: Door) -> None:
    for path in read_page():
        assert guarded.call("GET", path).status == 200
    for path in DATA:
        assert guarded.call("GET", path).status == 401
    assert guarded.call("POST", "/v1/route", {"input": "a"}).status == 401
    sent = {"Authorization": f"Bearer {TOKEN}"}
    assert guarded.call("GET", "/status.json", headers=sent).status == 200


def test_another_hosts_name_reaches_neither_page_nor_data(door: Door) -> None:
    for path in ("/", "/page/main.js", *DATA):
        assert door.call("GET", path, headers={"Host": "evil.example"}).status == 400


def test_the_status_is_never_kept_by_a_browser(door: Door) -> None:
    status = door.call("GET", "/status.json")
    assert status.headers["cache-control"] == "no-store"
    assert [kernel["name"] for kernel in status.body["kernels"]] == [*NAMES]
    assert status.body["router"]["pid"] == 12
    assert status.body["problem"] == "none can be forked"
