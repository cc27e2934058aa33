"""What deployq's own templates say is kept from push to push, and is the same when it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deployq import tags
from deployq.config import Config, parse_config
from deployq.errors import ConfigError
from deployq.pipeline import render
from deployq.pipeline.render import require_values
from deployq.pipeline.resolve import Model, resolve_model
from deployq.tags.context import context


def given(system: str = "") -> dict[str, Any]:
    return context(
        model="m",
        architecture="llama",
        quant="Q8_0",
        from_="m.gguf",
        parameters={"num_ctx": 512},
        system=system,
    )


def test_what_is_kept_is_what_is_rendered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = given(system='odd\r\nline ends, Zoë and "quotes"\r')
    first = render._remembered(tmp_path / "kept", asked)
    assert first == tags.render_modelfile(tags.environment(), None, asked)

    def refuse(*_: object) -> str:
        raise AssertionError("it was rendered again")

    monkeypatch.setattr(tags, "render_modelfile", refuse)
    assert render._remembered(tmp_path / "kept", asked) == first
    with pytest.raises(AssertionError, match="rendered again"):
        render._remembered(tmp_path / "kept", given(system="another"))


def test_a_changed_template_is_rendered_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "templates"
    own.mkdir()
    monkeypatch.setattr(render, "template_dir", lambda: own)
    monkeypatch.setattr(tags, "render_modelfile", lambda *_: (own / "Modelfile.j2").read_text())
    for text in ("FROM one", "FROM two"):
        (own / "Modelfile.j2").write_text(text)
        assert render._remembered(tmp_path / "kept", given()) == text
    (tmp_path / "kept").chmod(0o500)  # what can't be kept is rendered each time
    (own / "Modelfile.j2").write_text("FROM three")
    assert render._remembered(tmp_path / "kept", given()) == "FROM three"


def settings(text: str) -> tuple[Config, Model]:
    config = parse_config(text, Path("/project"), Path("/project/deployq.toml"))
    return config, resolve_model(config, "m")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("parameters = { repeat_last_n = -1 }", "models.m.parameters.repeat_last_n = -1: -1 is"),
        ("parameters = { temprature = 1 }", "models.m.parameters.temprature = 1: Ollama has no"),
        ('parameters = { temperature = "hot" }', 'models.m.parameters.temperature = "hot": '),
        ("parameters = { top_k = true }", "models.m.parameters.top_k = true: "),
        ("parameters = { top_k = [1] }", "models.m.parameters.top_k = [1]: "),
        ("parameters = { stop = 5 }", "models.m.parameters.stop = 5: "),
        ('parameters = { stop = [""] }', 'models.m.parameters.stop = [""]: an empty stop'),
        ("""parameters = { stop = ['a\"\"\"'] }""", "models.m.parameters.stop = "),
        ('system = \'say """hi"""\'', "models.m.system: a Modelfile can't carry"),
        ('license = \'say """hi"""\'', "models.m.license: a Modelfile can't carry"),
        ("[targets.box]\nparameters = { num_batch = 1 }", "targets.box.parameters.num_batch = 1: "),
    ],
)
def test_a_refused_value_is_named_by_its_key(table: str, said: str) -> None:
    """Not by a line of a Modelfile that the user never sees."""
    config, model = settings(f'[models.m]\nsource = "m.gguf"\n{table}\n')
    with pytest.raises(ConfigError) as caught:
        require_values(config, model, ["box"])
    assert caught.value.message.startswith(f"deployq.toml: {said}")
    assert "PARAMETER" not in caught.value.message
    assert "line" not in caught.value.message


def test_values_that_become_parameters_as_they_are_meant() -> None:
    kept = 'temperature = 0, top_p = 0.5, use_mmap = true, stop = ["a", "b"], min_p = "0.1"'
    config, model = settings(f'[models.m]\nsource = "m.gguf"\nparameters = {{ {kept} }}\n')
    require_values(config, model)
