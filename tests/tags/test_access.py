"""Secrets: where they are read, what header they make, and that they are not shown."""

from __future__ import annotations

import base64
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from deployq.errors import ConfigError
from deployq.tags.access import Access, access_by, environment_access, read_secret


@pytest.mark.parametrize(
    ("secret", "header"),
    [
        ("abc.DEF-1_2~3+4/5==", "Bearer abc.DEF-1_2~3+4/5=="),
        ("  abc\n", "Bearer abc"),
        ("me:pass", f"Basic {base64.b64encode(b'me:pass').decode()}"),
        ("me:a:b c", f"Basic {base64.b64encode(b'me:a:b c').decode()}"),
        (":pass", f"Basic {base64.b64encode(b':pass').decode()}"),
        ("jürgen:straße", f"Basic {base64.b64encode('jürgen:straße'.encode()).decode()}"),
    ],
)
def test_the_header_of_a_secret(secret: str, header: str) -> None:
    assert access_by(secret).headers == {"Authorization": header}


@pytest.mark.parametrize(
    "secret", ["Bearer hunter2", "hunter2 hunter2", "hunter2=2", "hünter2", "me:hunter2\nX: y"]
)
def test_what_is_no_secret_is_refused_and_not_shown(secret: str) -> None:
    with pytest.raises(ConfigError) as caught:
        access_by(secret)
    assert "nter2" not in str(caught.value) + caught.value.hint


def test_an_access_shows_no_secret() -> None:
    for secret in ("hunter2", "me:hunter2"):
        access = access_by(secret)
        assert "hunter2" not in repr(access)
        encoded = access.authorization.partition(" ")[2]
        shown = access.hide(f"I got {access.authorization}, that is {secret}, of hunter2")
        assert encoded not in shown
        assert "hunter2" not in shown
    assert Access().hide("as it is") == "as it is"


@pytest.mark.parametrize(
    ("url", "sent"),
    [("http://box:11434", False), ("https://box", True), ("http://127.0.0.1:1", True)],
)
def test_ollamas_own_variable(url: str, sent: bool) -> None:
    access = environment_access(url, {"OLLAMA_API_KEY": " hunter2 "})
    assert access.headers == ({"Authorization": "Bearer hunter2"} if sent else {})
    assert not environment_access(url, {}).headers


def test_a_variable_that_is_not_there() -> None:
    assert read_secret("env:BOX", {"BOX": " x "}) == "x"
    for env in ({}, {"BOX": "  "}):
        with pytest.raises(ConfigError, match="has no BOX") as caught:
            read_secret("env:BOX", env)
        assert "export BOX" in caught.value.hint


def test_without_the_library_of_keyrings_the_way_to_it_is_said(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "sys.path[:] = [p for p in sys.path if 'site-packages' not in p] + [sys.argv[1]]\n"
        "from deployq.errors import ConfigError\n"
        "from deployq.tags.access import read_secret\n"
        "try:\n    read_secret('keyring:box', {})\n"
        "except ConfigError as exc:\n    print(exc.message, exc.hint)\n"
    )
    found = importlib.util.find_spec("lazy_loader")
    assert found is not None
    assert found.origin is not None
    (tmp_path / "lazy_loader").symlink_to(Path(found.origin).parent)
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        cwd=root, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "keyring is not installed" in done.stdout
    assert "pip install 'deployq[keyring]'" in done.stdout
