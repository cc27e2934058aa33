from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deployq.errors import ModelfileError
from deployq.files import template_dir
from deployq.tags.context import context
from deployq.tags.modelfile import parse
from deployq.tags.templates import environment, render_modelfile


def variables(**changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "model": "task-api",
        "architecture": "llama",
        "quant": "Q4_K_M",
        "from_": "task-api-Q4_K_M.gguf",
        "parameters": {"num_ctx": 4096, "temperature": 0.2, "use_mmap": False, "stop": "U:"},
        "system": 'You "answer"\nin JSON.',
        "stops": ("<|im_end|>",),
        "license": ("Apache-2.0",),
    }
    return context(**(given | changes))


def own(folder: Path, text: str) -> str:
    file = folder / "own.txt"
    file.write_text(text, encoding="utf-8")
    return str(file)


def test_the_default_template_says_all_that_it_is_given() -> None:
    text = render_modelfile(environment(), None, variables(target="laptop"))
    assert text.startswith("# task-api Q4_K_M for laptop, written by deployq\nFROM task-api-Q4")
    modelfile = parse(text)
    assert modelfile.from_ == "task-api-Q4_K_M.gguf"
    assert modelfile.parameters == {
        "num_ctx": 4096,
        "temperature": 0.2,
        "use_mmap": False,
        "stop": ("<|im_end|>", "U:"),
    }
    assert modelfile.system == 'You "answer"\nin JSON.'
    assert modelfile.license == ("Apache-2.0",)
    assert modelfile.template == ""


def test_the_default_template_leaves_out_what_there_is_not() -> None:
    plain = variables(parameters={}, system="", stops=(), license=())
    text = render_modelfile(environment(), None, plain)
    assert text == "# task-api Q4_K_M, written by deployq\nFROM task-api-Q4_K_M.gguf\n"


@pytest.mark.parametrize("name", ["gemma3", "qwen3"])
def test_a_family_has_its_makers_settings_unless_the_user_has_others(name: str) -> None:
    render = environment()
    plain = parse(render_modelfile(render, None, variables(architecture=name, parameters={})))
    assert plain.parameters["top_p"] == 0.95
    assert plain.system
    mine = variables(architecture=name, parameters={"top_p": 0.5, "num_ctx": 512})
    found = parse(render_modelfile(render, None, mine)).parameters
    assert (found["top_p"], found["num_ctx"]) == (0.5, 512)
    assert found["top_k"] == plain.parameters["top_k"]


def test_every_built_in_template_renders() -> None:
    for file in template_dir().glob("Modelfile*.j2"):
        assert parse(render_modelfile(environment(), file.name, variables())).from_


def test_folders_come_before_deployqs_own_and_a_file_before_all(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        (folder / "Modelfile.j2").write_text(f"FROM {{{{ from_ }}}}\nLICENSE {folder.name}\n")
    (second / "Modelfile.llama.j2").write_text("FROM {{ from_ }}\nLICENSE llama\n")
    render = environment((first, second))

    def license_of(template: str | None, architecture: str = "qwen2") -> tuple[str, ...]:
        text = render_modelfile(render, template, variables(architecture=architecture))
        return parse(text).license

    assert license_of(None) == ("first",)
    assert license_of(None, "llama") == ("llama",)
    assert license_of("Modelfile.j2", "llama") == ("first",)
    assert license_of(own(tmp_path, "FROM {{ from_ }}\nLICENSE own")) == ("own",)


def test_a_go_template_goes_through_raw(tmp_path: Path) -> None:
    template = own(
        tmp_path,
        "FROM {{ from_ }}\n"
        'TEMPLATE """{% raw %}{{ if .System }}{{ .System }}{{ end }}{{ .Prompt }}{% endraw %}"""',
    )
    modelfile = parse(render_modelfile(environment(), template, variables()))
    assert modelfile.template == "{{ if .System }}{{ .System }}{{ end }}{{ .Prompt }}"


def test_plugins_add_variables(tmp_path: Path) -> None:
    template = own(tmp_path, "FROM {{ from_ }}\nSYSTEM {{ team | quote }}")
    text = render_modelfile(environment(), template, variables(extra={"team": "ours"}))
    assert parse(text).system == "ours"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("FROM {{ from_ }}\nSYSTEM {{ sytem }}", r"own\.txt, line 2: 'sytem' is undefined"),
        ("FROM x\n\n{% if %}", r"own\.txt, line 3: Expected an expression"),
        ("FROM x\n{{ 1 / 0 }}", r"own\.txt, line 2: ZeroDivisionError"),
        ("{{ model + 1 }}", r"own\.txt, line 1: TypeError"),
        ('a\n{{ \'"""\' | quote }}', r"own\.txt, line 2: a Modelfile can't carry"),
        ("{{ ''.__class__.__mro__ }}", r"own\.txt, line 1: access to attribute '__class__'"),
        ("{% include 'nope' %}", r"own\.txt, line 1: there is no template 'nope' to include"),
        ("{% for i in range(10 ** 9) %}{% endfor %}", r"own\.txt, line 1: OverflowError"),
        ("{% include 'Modelfile.j2' %}{{ nope }}", r"own\.txt, line 1: 'nope' is undefined"),
    ],
)
def test_what_does_not_render_names_template_line_and_cause(
    tmp_path: Path, text: str, said: str
) -> None:
    with pytest.raises(ModelfileError, match=said):
        render_modelfile(environment(), own(tmp_path, text), variables())


def test_an_undefined_variable_gets_the_nearest_right_name(tmp_path: Path) -> None:
    with pytest.raises(ModelfileError) as caught:
        render_modelfile(environment(), own(tmp_path, "{{ sytem }}"), variables())
    assert caught.value.hint == "did you mean system?"
    with pytest.raises(ModelfileError) as caught:
        render_modelfile(environment(), own(tmp_path, "{{ zzz }}"), variables())
    assert "from_" in caught.value.hint


def test_a_template_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelfileError, match="no Modelfile template") as caught:
        render_modelfile(environment(), str(tmp_path / "gone.j2"), variables())
    assert "Modelfile.gemma3.j2" in caught.value.hint


def test_a_template_that_is_no_text(tmp_path: Path) -> None:
    file = tmp_path / "own.txt"
    file.write_bytes(b"FROM \xff\xfe")
    with pytest.raises(ModelfileError, match=r"own\.txt: UnicodeDecodeError"):
        render_modelfile(environment(), str(file), variables())
