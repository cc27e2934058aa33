"""What deployq's own templates say is kept from push to push, and is the same when it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deployq import tags
from deployq.pipeline import render
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
