"""Precedence of the configuration: flags, then the environment, then the file."""

from pathlib import Path

import pytest

from constellation import settings
from constellation.errors import ConfigError
from constellation.records import Rule


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, without variables of ours from outside."""
    for name in settings.child_environment({}):
        if name.startswith("CONSTELLATION_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_a_file_the_defaults_hold() -> None:
    loaded = settings.load_settings()
    assert loaded.serve.host == "127.0.0.1"
    assert loaded.serve.port == 50051
    assert loaded.security.token_file is None


def test_the_file_beats_the_defaults(folder: Path) -> None:
    (folder / "constellation.toml").write_text('[serve]\nport = 1001\nrule = "geodesic"\n')
    loaded = settings.load_settings()
    assert loaded.serve.port == 1001
    assert loaded.serve.rule is Rule.GEODESIC
    assert loaded.kernel.slots == settings.KernelSettings().slots


def test_a_byte_order_mark_at_the_start_of_the_file_is_no_text(folder: Path) -> None:
    (folder / "constellation.toml").write_bytes(b"\xef\xbb\xbf[serve]\nport = 7000\n")
    assert settings.load_settings().serve.port == 7000


def test_the_environment_beats_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "constellation.toml").write_text("[serve]\nport = 1001\ntop_k = 3\n")
    monkeypatch.setenv("CONSTELLATION_SERVE__PORT", "1002")
    loaded = settings.load_settings()
    assert loaded.serve.port == 1002
    assert loaded.serve.top_k == 3


def test_flags_beat_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "constellation.toml").write_text('artifacts = "file"\nrun_dir = "file"\n')
    monkeypatch.setenv("CONSTELLATION_ARTIFACTS", "environment")
    monkeypatch.setenv("CONSTELLATION_SERVE__PORT", "1002")
    loaded = settings.load_settings(artifacts=Path("flag"), serve={"port": 1003}, run_dir=None)
    assert loaded.artifacts == Path("flag")
    assert loaded.serve.port == 1003
    assert loaded.run_dir == Path("file")


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ("colour = 1\n", "colour"),
        ("[serve]\ncolour = 1\n", "serve.colour"),
        ("[serve]\nport = 70000\n", "serve.port"),
        ('[serve]\nrule = "euclidean"\n', "serve.rule"),
        ("[kernel]\nslots = 0\n", "kernel.slots"),
        ("[kernel]\nstall_s = nan\n", "kernel.stall_s"),
    ],
)
def test_a_wrong_key_or_value_in_the_file_is_named(folder: Path, content: str, key: str) -> None:
    (folder / "constellation.toml").write_text(content)
    with pytest.raises(ConfigError, match=key):
        settings.load_settings()


IN_OUR_WORDS = {
    "[serve]\nprot = 1\n": "serve.prot is unknown; did you mean port?",
    "[serv]\nport = 1\n": "serv is unknown; did you mean serve?",
    "[tracing]\nzzz = 1\n": "tracing.zzz is unknown; known here: endpoint, sample_ratio",
    "[serve]\nport = 'x'\n": "serve.port is 'x'; allowed: a whole number",
    "[serve]\nport = 70000\n": "serve.port is 70000; allowed: at most 65535",
    "[serve]\nrule = 'euclid'\n": "serve.rule is 'euclid'; allowed: 'geodesic' or 'bearing'",
    "[serve]\nhttp = 'perhaps'\n": "serve.http is 'perhaps'; allowed: true or false",
    "serve = 3\n": "serve is 3; allowed: a table",
}


@pytest.mark.parametrize(("content", "said"), IN_OUR_WORDS.items(), ids=IN_OUR_WORDS.values())
def test_what_is_wrong_is_said_in_our_words_with_the_name_that_may_have_been_meant(
    folder: Path, content: str, said: str
) -> None:
    (folder / "constellation.toml").write_text(content)
    with pytest.raises(ConfigError) as caught:
        settings.load_settings()
    assert str(caught.value) == f"configuration: {said}"


@pytest.mark.parametrize("content", [b"[serve\n", b"\xff\xfe", b"a = 1\na = 2\n"])
def test_a_file_that_is_not_toml_is_a_configuration_error(folder: Path, content: bytes) -> None:
    (folder / "constellation.toml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"constellation\.toml"):
        settings.load_settings()


def test_an_unknown_key_inside_a_section_of_the_environment_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CONSTELLATION_SERVE__COLOUR", "red")
    with pytest.raises(ConfigError, match=r"serve\.colour"):
        settings.load_settings()


@pytest.mark.parametrize("name", ["CONSTELLATION_SERVER__PORT", "constellation_prot"])
def test_a_variable_with_our_prefix_that_sets_nothing_is_an_error(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(ConfigError, match=rf"{name.upper()}; (did you mean|known here)"):
        settings.load_settings()


def test_a_section_variable_that_is_not_json_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSTELLATION_SERVE", "port 50051")
    with pytest.raises(ConfigError, match="serve"):
        settings.load_settings()


def test_an_unknown_flag_is_an_error() -> None:
    with pytest.raises(ConfigError, match="colour"):
        settings.load_settings(colour="red")


def test_the_token_comes_from_the_environment_before_the_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = folder / "token"
    file.write_text("from-the-file\nsecond line\n")
    assert settings.read_token(None) is None
    assert settings.read_token(file) == "from-the-file"
    monkeypatch.setenv("CONSTELLATION_TOKEN", "from-the-environment")
    assert settings.read_token(file) == "from-the-environment"
    assert settings.read_token(None) == "from-the-environment"


def test_the_token_variable_is_not_an_unknown_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSTELLATION_TOKEN", "a secret of many characters")
    assert "secret" not in repr(settings.load_settings())


@pytest.mark.parametrize("content", [None, b"", b"\nsecret\n", b"\xff\xfe\n"])
def test_a_token_file_without_a_token_is_a_configuration_error(
    folder: Path, content: bytes | None
) -> None:
    file = folder / "token"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match="token"):
        settings.read_token(file)


def test_a_child_gets_our_environment_with_the_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEPT", "1")
    monkeypatch.setenv("CHANGED", "1")
    child = settings.child_environment({"CHANGED": "2", "ADDED": "3"})
    assert (child["KEPT"], child["CHANGED"], child["ADDED"]) == ("1", "2", "3")


def test_every_setting_is_documented() -> None:
    sections = [settings.Settings, settings.ServeSettings, settings.KernelSettings]
    sections += [settings.SecuritySettings, settings.ClusterSettings]
    sections += [settings.LogSettings, settings.TracingSettings]
    for section in sections:
        for name, field in section.model_fields.items():
            nested = field.annotation in sections
            assert nested or field.description, f"{section.__name__}.{name}"
