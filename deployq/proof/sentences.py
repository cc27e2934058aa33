"""A diagnosis in one sentence with its evidence, and the command (or step) that mends it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from deployq.records import dataclass
from deployq.types import Cause, Clue, Ruling, Rung


@dataclass(frozen=True)
class Facts:
    """What a sentence and a mend speak of; "" and 0 where it is not known.

    `model` is the model of deployq.toml, `target` that of an alias. `n_ctx` is the context that
    the tag has, `n_ctx_needed` what its prompts and answers want; `prompt_options` says that the
    suite sets it. `end_mark` is how an answer ends by the model's own template, `end_token` its
    id where it is a token that no text shows. `parameters` are those that bend answers.
    `better` is a quant to try instead; `source` what the model was made from, `bad` the file with
    damaged weights.
    """

    tag: str
    failed: int
    asked: int
    model: str = ""
    target: str = ""
    quant: str = ""
    better: str = ""
    n_ctx: int = 0
    n_ctx_needed: int = 0
    prompt_options: bool = False
    end_mark: str = ""
    end_token: int | None = None
    parameters: Sequence[str] = ()
    source: str = ""
    source_damaged: bool = False
    trained: str = ""
    missing: str = ""

    @property
    def push(self) -> str:
        """The push that makes the tag anew."""
        targets = f" --targets {self.target}" if self.target else ""
        return f"deployq push {self.model or 'MODEL'}{targets}"

    @property
    def table(self) -> str:
        """Where deployq.toml says it for this tag."""
        return f"[targets.{self.target}]" if self.target else f"[models.{self.model or 'NAME'}]"


def sentence(facts: Facts, ruling: Ruling, rungs: Sequence[Rung], evidence: Sequence[Clue]) -> str:
    """What is wrong, whose fault it is, and what shows it."""
    if ruling.cause == "nothing wrong":
        return f"Nothing is wrong with {facts.tag}: it passed all {facts.asked} prompts."
    lead = _lead(facts, ruling, rungs)
    shown = [one.message for one in evidence if one.suspect == ruling.cause]
    because = f" ({'; '.join(shown)})" if shown else ""
    return f"{lead}{because}.{_others(ruling)}"


def mend(facts: Facts, ruling: Ruling) -> str:
    """The command that mends it, or the step where no command can."""
    return _MENDS[ruling.cause](facts)


# ---------------------------------------------------------------- sentences


def _lead(facts: Facts, ruling: Ruling, rungs: Sequence[Rung]) -> str:
    of = _Some(sum(c == ruling.cause for c in ruling.causes.values()), len(ruling.causes))
    title = next((r.title for r in rungs if _passes(r, ruling)), "")
    return _LEADS[ruling.cause](facts, of, title)


def _passes(rung: Rung, ruling: Ruling) -> bool:
    if rung.name == "tag":
        return False
    return any(ruling.causes.get(name) == ruling.cause for name in rung.passed)


def _others(ruling: Ruling) -> str:
    others = dict.fromkeys(c for c in ruling.causes.values() if c != ruling.cause)
    counted = {c: sum(c == cause for cause in ruling.causes.values()) for c in others}
    if not counted:
        return ""
    return " Of the others: " + ", ".join(f"{n} by {cause}" for cause, n in counted.items()) + "."


@dataclass(frozen=True)
class _Some:
    """Some of the prompts that fail, as the subject of a sentence."""

    number: int
    of: int

    def __str__(self) -> str:
        if self.of == 1:
            return "the failing prompt"
        if self.number == self.of:
            return f"all {self.of} failing prompts"
        return f"{self.number} of the {self.of} failing prompts"

    def do(self, verb: str) -> str:
        """They do it: "the failing prompt passes"."""
        ending = "es" if verb.endswith("s") else "s"
        return f"{self} {verb}{ending if self.number == 1 else ''}"


_Lead = Callable[[Facts, _Some, str], str]


def _context(facts: Facts, of: _Some, title: str) -> str:
    whose = "the suite's" if facts.prompt_options else "the tag's"
    return (
        f"The context is too small: {of.do('pass')} {title}, and {whose} num_ctx of "
        f"{facts.n_ctx:,} leaves no room for prompt and answer"
    )


def _damaged(facts: Facts, of: _Some, title: str) -> str:
    if facts.source_damaged:
        return f"The weights of the model itself are damaged: {of.do('pass')} nowhere"
    lead = f"The weights of {facts.tag} are damaged, not just quantized"
    return f"{lead}: {of.do('pass')} {title}" if title else lead


_LEADS: Mapping[Cause, _Lead] = {
    "context": _context,
    "template": lambda _, of, title: (
        f"The template is at fault, not the weights: {of.do('pass')} {title}"
    ),
    "stop token": lambda facts, of, _: (
        f"The end of an answer is not known to the engine: {of.do('pass')} once what stands behind "
        f"{facts.end_mark or 'the end mark'} is left out"
    ),
    "parameters": lambda facts, of, title: (
        f"The parameters bend the answers ({', '.join(facts.parameters)}): {of.do('pass')} {title}"
    ),
    "damaged weights": _damaged,
    "quantization": lambda facts, of, title: (
        f"{facts.quant} is too low for this model: {of.do('pass')} {title}, with all else equal"
    ),
    "runtime": lambda _, of, title: (
        f"The server's engine is at fault: {of.do('pass')} {title}, but not in full precision there"
    ),
    "conversion": lambda _, of, title: (
        f"The conversion lost something: {of.do('pass')} {title}, not as a GGUF in full precision"
        if title
        else f"The conversion lost something: {of.do('fail')} in full precision too"
    ),
    "model": lambda _, of, __: (
        f"The model itself does not know this: {of.do('fail')} in full precision too, with its own "
        "template and context enough"
    ),
    "undecided": lambda facts, of, _: (
        f"It can't be told: {of.do('fail')} in every way that could be asked"
        f"{f'; {facts.missing}' if facts.missing else ''}"
    ),
}


# ---------------------------------------------------------------- mends


def _mend_context(facts: Facts) -> str:
    if facts.prompt_options:
        return f"num_ctx = {facts.n_ctx_needed} (or none) in the suite's options"
    key = "context = " if facts.target else "parameters.num_ctx = "
    return f"{key}{facts.n_ctx_needed} under {facts.table} of deployq.toml, then: {facts.push}"


def _mend_stop(facts: Facts) -> str:
    if facts.end_token is not None:
        source = facts.source or "MODEL.gguf"
        set_id = f"gguf-set-metadata {source} tokenizer.ggml.eos_token_id {facts.end_token}"
        return f"{set_id}, then: {facts.push}"
    mark = facts.end_mark.replace("\\", "\\\\").replace('"', '\\"')
    return f'parameters.stop = ["{mark}"] under {facts.table} of deployq.toml, then: {facts.push}'


def _mend_damaged(facts: Facts) -> str:
    if facts.source_damaged:
        return f"copy or convert {facts.source} again, then: {facts.push}"
    return f"{facts.push} --verify-weights"


def _mend_quantization(facts: Facts) -> str:
    quants = f" --quants {facts.better}" if facts.better else " --quants Q8_0"
    search = f" (deployq recommend {facts.model} finds the smallest that holds)"
    return f"{facts.push}{quants}{search if facts.model else ''}"


def _mend_undecided(facts: Facts) -> str:
    return (
        f"deployq diagnose {facts.tag} --source MODEL.gguf"
        if not facts.source
        else ("deployq tools install")
    )


_MENDS: Mapping[Cause, Callable[[Facts], str]] = {
    "nothing wrong": lambda _: "",
    "context": _mend_context,
    "template": lambda facts: (
        f'template = "model" under {facts.table} of deployq.toml, then: {facts.push}'
    ),
    "stop token": _mend_stop,
    "parameters": lambda facts: (
        f"take {', '.join(p.split(' ')[0] for p in facts.parameters)} out of the parameters of "
        f"{facts.table} in deployq.toml, then: {facts.push}"
    ),
    "damaged weights": _mend_damaged,
    "quantization": _mend_quantization,
    "runtime": lambda facts: (
        f"update Ollama, then: deployq verify {facts.tag} (deployq --runtime embedded runs the "
        "same tag under this machine's llama-server)"
    ),
    "conversion": lambda facts: f"convert {facts.trained or 'it'} again, then: {facts.push}",
    "model": lambda facts: (
        "train it on prompts like these, or change what the suite demands of it; then: "
        f"deployq verify {facts.tag}"
    ),
    "undecided": _mend_undecided,
}
