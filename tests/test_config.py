"""deployq.toml: every key, every mistake, and which of option, environment and file wins."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from deployq.config import (
    NAMED_SECTIONS,
    SECTIONS,
    Config,
    find_config,
    load_config,
    parse_config,
    settings,
    with_option,
)
from deployq.errors import ConfigError
from deployq.settings import PathSettings

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = (ROOT / "deployq.toml").read_text(encoding="utf-8")


def parse(text: str) -> Config:
    return parse_config(text, Path("/somewhere"))


def section_text(name: str) -> str:
    """The lines of the sample that belong to one kind of table; "" is the top of the file."""
    chunks: dict[str, list[str]] = {"": []}
    current = ""
    for line in SAMPLE.splitlines():
        if found := re.match(r"\[([a-z]+)", line):
            current = found[1]
        chunks.setdefault(current, []).append(line)
    return "\n".join(chunks[name])


@pytest.mark.parametrize(
    ("section", "record"), [("", PathSettings), *SECTIONS.items(), *NAMED_SECTIONS.items()]
)
def test_the_sample_shows_every_key(section: str, record: type) -> None:
    text = section_text(section)
    for option in fields(record):
        assert re.search(rf"^(# )?{option.name} = ", text, re.MULTILINE), (
            f"deployq.toml does not show {option.name} in [{section}]"
        )


def test_the_sample_is_valid_also_with_every_comment_switched_on() -> None:
    parse(SAMPLE)
    switched_on = re.sub(r"^# ([a-z_]+ = )", r"\1", SAMPLE, flags=re.MULTILINE)
    config = parse(switched_on)
    assert config.targets["laptop"].host == "http://192.168.1.20:11434"
    assert config.runtime.timeout == 300


def test_relative_paths_are_relative_to_the_file() -> None:
    config = parse('[models.m]\nsource = "weights/m.gguf"\nsuite = "/abs/s.toml"')
    assert config.models["m"].source == Path("/somewhere/weights/m.gguf")
    assert config.models["m"].suite == Path("/abs/s.toml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[modls.x]", r"unknown table \[modls\]; did you mean models\?"),
        ("[models.x]\nsorce = 'a'", r"unknown key models\.x\.sorce; did you mean source\?"),
        ("[targets.t]\nmemory = 16", r"targets\.t\.memory: a size needs its unit"),
        ("[targets.t]\nmemory = '16'", r"targets\.t\.memory"),
        ("[targets.t]\nkind = 'gpu'", r"'gpu' is none of ram, vram, unified"),
        ("[targets.t]\ncontext = 0", r"targets\.t\.context: a positive whole number"),
        ("[targets.t]\ncontext = true", r"targets\.t\.context"),
        ("[targets.t]\ncache_type = 'q9'", r"'q9' is no KV-cache type"),
        ("[models.x]\ngoal = 'best'", r"'best' is none of balanced"),
        ("[models.x]\nquants = 'Q4_K_M'", r"a list of texts was expected"),
        ("[gate]\nconfidence = 1", r"gate\.confidence: a number from 0\.5 to 0\.999"),
        ("[gate]\nconfidence = nan", r"gate\.confidence: a number from 0\.5 to 0\.999"),
        ("[gate]\nperplexity_fail = nan", r"gate\.perplexity_fail: a number, 0 or more"),
        ("[gate]\nperplexity_warn = inf", r"gate\.perplexity_warn: a number, 0 or more"),
        ("[models.x]\nsystem = ' '", r"models\.x\.system: a text was expected"),
        ("[models.'a b']\nsource = 'x'", r"'a b' can't be part of an Ollama name"),
        ("models = 3", r"unknown key models"),
        ("[models]\nx = 3", r"models\.x must be a table"),
        ("cash = 'x'", r"unknown key cash; did you mean cache\?"),
        ("[tools", r"not valid TOML"),
        ("[runtime]\ntimeout = -1", r"runtime\.timeout: a positive number of seconds"),
    ],
)
def test_a_mistake_names_its_place(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse(text)


def test_the_nearest_file_counts(tmp_path: Path) -> None:
    (tmp_path / "deployq.toml").write_text("")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert find_config(below, {}) == tmp_path / "deployq.toml"
    assert find_config(below, {"DEPLOYQ_CONFIG": "x.toml"}) == Path("x.toml")


def test_option_over_environment_over_file_over_default(tmp_path: Path) -> None:
    file = tmp_path / "deployq.toml"
    file.write_text("[plugins]\nbackend = 'from-file'\n")
    assert load_config(file, {}).plugins.backend == "from-file"
    config = load_config(file, {"DEPLOYQ_BACKEND": "from-env", "DEPLOYQ_RUNTIME": "managed"})
    assert (config.plugins.backend, config.runtime.name) == ("from-env", "managed")
    config = with_option(config, "plugins", "backend", "from-option", "--backend")
    assert config.plugins.backend == "from-option"
    origins = {row.key: row.origin for row in settings(config)}
    assert origins["plugins.backend"] == "option --backend"
    assert origins["runtime.name"] == "environment DEPLOYQ_RUNTIME"
    assert origins["runtime.timeout"] == "default"


def test_a_named_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the configuration"):
        load_config(tmp_path / "no.toml", {})


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    file = tmp_path / "deployq.toml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config(file, {})


def test_no_file_at_all_is_fine(tmp_path: Path) -> None:
    config = load_config(None, {}, tmp_path)
    assert config.file is None
    assert config.models == {}


def test_a_template_is_a_file_or_the_models_own(tmp_path: Path) -> None:
    text = '[models.m]\ntemplate = "{}"\n[targets.t]\ntemplate = "{}"'
    config = parse_config(text.format("model", "./model"), tmp_path)
    assert config.models["m"].template == "model"
    assert config.targets["t"].template == tmp_path / "model"
