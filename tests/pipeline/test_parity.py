"""What real servers make of real chat templates, and what is found and mended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from deployq_runtimes import Embedded

from deployq import ConfigError, Endpoint, ServerRefused
from deployq.digests import sha256_file
from deployq.pipeline.own_template import settle_template
from deployq.pipeline.parity import check_parity, model_of_tag
from deployq.pipeline.servers import Site
from deployq.pipeline.session import Session
from deployq.source.inspect import inspect
from deployq.tags.chat_template import chat_template_of
from deployq.tags.go_template import derive
from deployq.tags.modelfile import Modelfile
from deployq.tags.server import Server
from deployq.types import FaultKind, ParityReport
from tests.pipeline.conftest import Open
from tests.pipeline.older_server import older
from tests.tags.chat_templates import KINDS

BOTH = (
    pytest.param("embedded", marks=pytest.mark.tools),
    pytest.param("ollama", marks=pytest.mark.ollama),
)
TWICE = '{{ "<s>" }}{{ range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n'
TWICE += "{{ end }}<|im_start|>assistant\n"


@dataclass
class Place:
    """A server with tags of tiny models on it."""

    session: Session
    site: Site
    folder: Path
    files: dict[str, Path] = field(default_factory=dict)

    def create(self, kind: str, **fields: object) -> str:
        """A tag of a model of that kind; gives its name."""
        file = self.folder / f"{kind}.gguf"
        self.files[kind] = file if file.exists() else KINDS[kind].write(file)
        return self.put(self.files[kind], f"parity-{kind}", **fields)

    def put(self, file: Path, name: str, **fields: object) -> str:
        digest = sha256_file(file)
        self.site.server.upload_blob(file, digest)
        modelfile = Modelfile("m.gguf", {"num_ctx": 256}, **fields)  # type: ignore[arg-type]
        self.site.server.create(name, modelfile, {"m.gguf": digest})
        return name

    def check(self, kind: str, **fields: object) -> ParityReport:
        tag = self.create(kind, **fields)
        return check_parity(self.session, self.site, tag, inspect(self.files[kind]))

    def settle(self, kind: str, **fields: object) -> tuple[str, ParityReport, Modelfile]:
        tag = self.create(kind, **fields)
        file = self.files[kind]

        def recreate(modelfile: Modelfile) -> None:
            self.site.server.create(tag, modelfile, {"m.gguf": sha256_file(file)})

        first = Modelfile("m.gguf", {"num_ctx": 256}, **fields)  # type: ignore[arg-type]
        done = settle_template(self.session, self.site, tag, first, inspect(file), recreate)
        return done.why, done.report, done.modelfile


@pytest.fixture(scope="module")
def embedded(tools_bin: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    assert tools_bin.is_dir()
    with Embedded().start(tmp_path_factory.mktemp("embedded")) as endpoint:
        yield endpoint


def place_at(endpoint: Endpoint, session: Session, folder: Path) -> Iterator[Place]:
    with Server(endpoint.url) as server:
        yield Place(session, Site(endpoint.url, endpoint, server), folder)


@pytest.fixture(params=BOTH)
def place(request: pytest.FixtureRequest, session_for: Open, tmp_path: Path) -> Iterator[Place]:
    named = "embedded" if request.param == "embedded" else "real_ollama"
    yield from place_at(request.getfixturevalue(named), session_for(), tmp_path)


@pytest.fixture
def real(real_ollama: Endpoint, session_for: Open, tmp_path: Path) -> Iterator[Place]:
    yield from place_at(real_ollama, session_for(), tmp_path)


def kinds(report: ParityReport) -> set[FaultKind]:
    return {fault.kind for fault in report.faults}


# ---------------------------------------------------------------- silent where all is well


@pytest.mark.parametrize("kind", ["chatml", "tools"])
def test_a_healthy_tag_is_left_in_peace(place: Place, kind: str) -> None:
    report = place.check(kind)
    assert report.ok, report.faults
    assert len([row for row in report.conversations if row.status == "same"]) >= 7
    assert report.way == "renders"


def test_tools_and_thoughts_are_among_what_is_rendered(place: Place) -> None:
    rows = {row.name: row for row in place.check("tools").conversations}
    assert "add_task" in (rows["tools"].server.text or "")
    assert "<tool_response>" in (rows["tool call and result"].server.text or "")
    assert not (rows["thinking on"].server.text or "").endswith("</think>\n\n")
    assert (rows["one question"].server.text or "").endswith("</think>\n\n")


@pytest.mark.parametrize("system", ["", "Answer with one JSON object.", "Be brief."])
def test_the_sample_is_left_in_peace(place: Place, sample_gguf: Path, system: str) -> None:
    tag = place.put(sample_gguf, "parity-sample", system=system)
    report = check_parity(place.session, place.site, tag, inspect(sample_gguf))
    assert report.ok, report.faults


def test_what_the_models_template_refuses_is_a_note(place: Place) -> None:
    rows = {row.name: row for row in place.check("gemma").conversations}
    assert rows["system prompt"].status == "unknown"
    assert "System role not supported" in rows["system prompt"].reason
    assert rows["several turns"].status == "same"


# ---------------------------------------------------------------- found


@pytest.mark.ollama
def test_a_default_system_prompt_that_ollamas_matching_loses(real: Place) -> None:
    report = real.check("chatml-default")
    assert report.served.known == "chatml"
    assert kinds(report) == {"known-template", "default-system"}
    assert "system prompt" not in {row.name for row in report.differing}
    assert {"one question", "several turns"} <= {row.name for row in report.differing}


@pytest.mark.ollama
@pytest.mark.parametrize(
    ("kind", "known", "conversation"),
    [
        ("llama3", "llama3-instruct", "blanks around"),
        ("mistral", "mistral-instruct", "one question"),
        ("gemma", "gemma-instruct", "blanks around"),
    ],
)
def test_a_template_that_ollamas_matching_got_wrong(
    real: Place, kind: str, known: str, conversation: str
) -> None:
    report = real.check(kind)
    assert (report.served.known, kinds(report)) == (known, {"known-template"})
    assert conversation in {row.name for row in report.differing}


@pytest.mark.ollama
def test_bos_twice_is_found_and_is_twice_by_the_servers_own_count(real: Place) -> None:
    tag = real.create("mistral", template=TWICE)
    report = check_parity(real.session, real.site, tag, inspect(real.files["mistral"]))
    assert "double-bos" in kinds(report)
    prompt = next(row.server.text for row in report.conversations if row.name == "one question")
    assert prompt is not None
    assert prompt.startswith("<s><s><|im_start|>")
    server, one = real.site.server, {"num_predict": 1}
    once = server.generate(tag, prompt.removeprefix("<s><s>"), raw=True, options=one).prompt_tokens
    twice = server.generate(tag, prompt.removeprefix("<s>"), raw=True, options=one).prompt_tokens
    assert twice == once + 1


@pytest.mark.parametrize("stop", [(), ("<|fin|>",)])
def test_a_turn_end_that_stops_nothing(place: Place, stop: tuple[str, ...]) -> None:
    tag = place.create("custom")
    if stop:
        file = place.files["custom"]
        stopping = Modelfile("m.gguf", {"num_ctx": 256, "stop": stop})
        place.site.server.create(tag, stopping, {"m.gguf": sha256_file(file)})
    report = check_parity(place.session, place.site, tag, inspect(place.files["custom"]))
    assert not report.differing
    assert kinds(report) == (set() if stop else {"stop"})


def test_a_model_without_a_template_that_the_engine_gives_one(place: Place) -> None:
    report = place.check("none")
    assert report.conversations[0].status == "unknown"
    made_up = "<|im_start|>" in (report.conversations[0].server.text or "")
    assert kinds(report) == ({"no-template"} if made_up else set())


@pytest.mark.ollama
@pytest.mark.parametrize(("kind", "ok"), [("chatml", True), ("chatml-default", False)])
def test_a_server_that_cannot_render_has_its_tokens_counted(
    real: Place, kind: str, ok: bool
) -> None:
    tag = real.create(kind)
    with older(real.site.endpoint.url) as url, Server(url) as server:
        site = Site(url, Endpoint(url, "ollama"), server)
        report = check_parity(real.session, site, tag, inspect(real.files[kind]))
    assert report.way == "token counts"
    assert len(report.conversations) == 3
    assert report.ok is ok
    status = {row.name: row.status for row in report.conversations}
    assert status["system prompt"] == "same"
    assert status["one question"] == ("same" if ok else "differs")


def test_a_tag_that_is_not_there(place: Place, sample_gguf: Path) -> None:
    with pytest.raises(ServerRefused, match="not found"):
        check_parity(place.session, place.site, "no-such:tag", inspect(sample_gguf))


# ---------------------------------------------------------------- mended


@pytest.mark.ollama
@pytest.mark.parametrize("kind", ["chatml-default", "llama3", "mistral", "gemma"])
def test_the_models_own_template_is_forced_where_it_must_be(real: Place, kind: str) -> None:
    why, report, modelfile = real.settle(kind)
    assert why == ""
    assert modelfile.template.startswith("{{- ")
    assert not report.differing
    assert report.ok
    assert real.site.server.show(f"parity-{kind}").template == modelfile.template


@pytest.mark.ollama
def test_a_line_end_behind_the_go_template_writes_nothing(real: Place) -> None:
    template = chat_template_of(inspect(KINDS["mistral"].write(real.folder / "mistral.gguf")))
    assert template is not None
    assert real.check("mistral", template=derive(template).text + "\n\n").ok


@pytest.mark.parametrize("kind", ["chatml", "tools"])
def test_no_template_is_sent_where_none_is_needed(place: Place, kind: str) -> None:
    why, report, modelfile = place.settle(kind)
    assert (why, modelfile.template) == ("", "")
    assert report.ok


@pytest.mark.ollama
def test_a_template_of_the_users_own_gives_way(real: Place) -> None:
    why, report, modelfile = real.settle("mistral", template=TWICE)
    assert (why, report.ok) == ("", True)
    assert "<s>" not in modelfile.template.replace("</s>", "")


@pytest.mark.ollama
def test_what_cannot_be_forced_is_said_and_nothing_is_changed(real: Place) -> None:
    # Messages are counted in it, which no Go template of ours can do.
    text = (KINDS["custom"].template or "").replace("### ", "### {{ loop.index }} ", 1)
    file = type(KINDS["custom"])(text, eos="</s>").write(real.folder / "counted.gguf")
    real.files["counted"] = file
    fixed = "{{ range .Messages }}{{ .Content }}{{ end }}"
    tag = real.put(file, "parity-counted", template=fixed)
    first = Modelfile("m.gguf", {"num_ctx": 256}, template=fixed)
    made: list[Modelfile] = []
    done = settle_template(real.session, real.site, tag, first, inspect(file), made.append)
    assert made == []
    assert "depends on more than its role" in done.why
    assert "OLLAMA_GO_TEMPLATE=0" in done.why
    assert done.modelfile is first
    assert not done.report.ok


@pytest.mark.tools
def test_a_server_that_takes_no_template(
    embedded: Endpoint, session_for: Open, tmp_path: Path
) -> None:
    """The embedded runtime renders the model's own; a TEMPLATE it would refuse is never sent."""
    for place in place_at(embedded, session_for(), tmp_path):
        why, report, modelfile = place.settle("mistral")
        assert (why, modelfile.template) == ("", "")
        assert report.ok


# ---------------------------------------------------------------- where the model's own stands


def test_the_template_comes_from_the_weights_where_they_are_here(place: Place) -> None:
    tag = place.create("chatml-default")
    info = model_of_tag(place.session, place.site, tag, None)
    assert info.chat_template == KINDS["chatml-default"].template


def test_without_source_and_weights_nothing_is_guessed(place: Place, sample_gguf: Path) -> None:
    tag = place.create("chatml")
    away = Site("x", Endpoint(place.site.endpoint.url, "ollama"), place.site.server)
    with pytest.raises(ConfigError, match="nothing here tells the chat template"):
        model_of_tag(place.session, away, tag, None)
    assert model_of_tag(place.session, away, tag, str(sample_gguf)).path == sample_gguf
