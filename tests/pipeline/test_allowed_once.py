"""`--allow` holds for one push: what was made under it is not taken by a later push without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from deployq import hookimpl
from deployq.config import parse_config
from deployq.errors import SourceError
from deployq.pipeline.convert import convert, require_allowed
from deployq.pipeline.prepare import current_info
from deployq.pipeline.resolve import Model
from deployq.pipeline.session import Session
from deployq.pipeline.sources import STOPS, Origin, find_origin
from deployq.plugins import load_plugins
from deployq.plugins.choice import Choice
from deployq.settings import ModelSettings
from deployq.types import ConvertJob, Health, Progress
from tests.source.hf_files import llama_stored
from tests.source.training_files import TEMPLATE, write_arrays, write_model, write_tokenizer
from tests.tiny import write_tiny_llama

CHECKS = ("overflow", "template")


class TinyConverter:
    """Writes the same small GGUF whatever it is given."""

    name = "tiny"

    def __init__(self) -> None:
        self.jobs: list[ConvertJob] = []

    def accepts(self, source: Path) -> bool:
        return source.is_dir()

    def health(self) -> Health:
        return Health(True, version="1")

    def convert(self, job: ConvertJob, progress: Progress) -> Sequence[str]:  # noqa: ARG002
        self.jobs.append(job)
        write_tiny_llama(job.output, chat_template=TEMPLATE)
        return ()


@dataclass(frozen=True)
class Plugin:
    """Brings a converter."""

    converter: TinyConverter

    @hookimpl
    def deployq_converters(self) -> list[TinyConverter]:
        return [self.converter]


@dataclass(frozen=True)
class Pushes:
    """A source that fails two checks: one by its small files, one by its weights."""

    session: Session
    folder: Path
    converter: TinyConverter

    def origin(self, *allow: str) -> Origin:
        return find_origin(self.session, self.model(*allow))

    def model(self, *allow: str) -> Model:
        return Model("m", self.folder, ModelSettings(dtype="F16", allow=allow))


@pytest.fixture
def pushes(tmp_path: Path) -> Pushes:
    folder = write_tokenizer(write_model(tmp_path / "m"), chat_template=None)
    arrays = {name: np.full(shape, 0.02) for name, shape in llama_stored().items()}
    arrays[next(iter(arrays))].flat[0] = 1e5  # no F16 holds it
    write_arrays(folder / "model.safetensors", arrays, "BF16")
    converter = TinyConverter()
    choice = Choice(disable=("converters", "llamacpp"), only_builtin=True)
    plugins = load_plugins(choice, {"tiny": Plugin(converter)})
    config = parse_config(f'cache = "{tmp_path / "cache"}"', tmp_path)
    return Pushes(Session(config, plugins, {}), folder, converter)


def test_a_later_push_without_it_stops_at_what_was_made_with_it(pushes: Pushes) -> None:
    with pytest.raises(SourceError, match="has no chat template"):
        convert(pushes.session, pushes.origin())
    with pytest.raises(SourceError, match="values above 65504"):
        convert(pushes.session, pushes.origin("template"))
    made = convert(pushes.session, pushes.origin(*CHECKS))
    require_allowed(pushes.session, pushes.origin(*CHECKS))
    with pytest.raises(SourceError, match="has no chat template"):
        require_allowed(pushes.session, pushes.origin("overflow"))
    with pytest.raises(SourceError, match="values above 65504") as caught:
        require_allowed(pushes.session, pushes.origin("template"))
    assert "BF16" in caught.value.hint
    again = convert(pushes.session, pushes.origin(*CHECKS))
    assert (again.artifact.digest, again.artifact.reused) == (made.artifact.digest, True)
    assert len(pushes.converter.jobs) == 1


def test_a_plan_says_that_a_push_will_stop_there(pushes: Pushes) -> None:
    convert(pushes.session, pushes.origin(*CHECKS))
    told = {
        allow: [
            w for w in current_info(pushes.session, pushes.model(*allow)).warnings if "655" in w
        ]
        for allow in ((), CHECKS)
    }
    assert [warning.endswith(STOPS) for warning in told[()]] == [True]
    assert [warning.endswith(STOPS) for warning in told[CHECKS]] == [False]


def test_a_source_that_was_mended_is_taken_without_it(pushes: Pushes) -> None:
    convert(pushes.session, pushes.origin(*CHECKS))
    write_model(pushes.folder)
    mended = pushes.origin()
    convert(pushes.session, mended)
    require_allowed(pushes.session, mended)
    assert len(pushes.converter.jobs) == 2


def test_the_source_of_a_gguf_needs_no_such_memory(pushes: Pushes, tmp_path: Path) -> None:
    gguf = write_tiny_llama(tmp_path / "m.gguf")
    model = replace(pushes.model(), source=gguf)
    require_allowed(pushes.session, find_origin(pushes.session, model))
    require_allowed(pushes.session, None)
