"""Records of the proof of quality: tokens with log probabilities, baselines, agreement, gates."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import field
from typing import Literal

from deployq.records import dataclass
from deployq.types.base import Json
from deployq.types.plan import Plan
from deployq.types.verification import Verification

Call = Literal["not worse", "worse", "undecided"]
GateStatus = Literal["pass", "warn", "fail", "undecided"]
End = Literal["same", "early", "late", "cut"]

# How a detokenizer writes bytes that are no whole character yet.
BROKEN = "\N{REPLACEMENT CHARACTER}"


@dataclasses.dataclass(frozen=True, slots=True)
class TokenStep:
    """One token of an answer with the likeliest ones at its place, likeliest first.

    Log probabilities are natural, over the whole vocabulary, before any sampler. `text` is all
    that tells a token by: special ones, such as the end of the answer, are "".
    """

    text: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()

    @property
    def merged(self) -> bool:
        """Whether several tokens stand here as one.

        A server holds back parts of a character and of a possible stop text; what it then
        sends is one text with the figures of the last token.
        """
        if not self.top:
            return True
        listed = any(text == self.text for text, _ in self.top)
        return not listed and self.logprob >= self.top[-1][1]


@dataclass(frozen=True)
class Piece:
    """A bit of a streamed answer; the last one has `done_reason` and the counts.

    `cached_tokens` of `prompt_tokens` came from the server's cache; None: it doesn't tell.
    """

    text: str
    steps: tuple[TokenStep, ...] = ()
    done_reason: str = ""
    prompt_tokens: int = 0
    cached_tokens: int | None = None
    tokens: int = 0
    eval_seconds: float = 0.0
    load_seconds: float = 0.0

    @property
    def last(self) -> bool:
        return bool(self.done_reason)


@dataclass(frozen=True)
class Spoken:
    """What a chat answered; `tool_calls` as the server read them from the answer."""

    text: str
    done_reason: str
    tool_calls: Json = None


@dataclass(frozen=True)
class TracedAnswer:
    """A greedy answer to a raw prompt, token by token.

    `format` is what the prompt asks for; `wall_seconds` is the client's clock. `spoken` is what
    a chat answers, try by try, where that is not simply `text`: other options, several tries,
    tools, thinking, or roles that a server treats in its own way.
    """

    prompt: str
    rendered: str
    text: str
    done_reason: str
    steps: tuple[TokenStep, ...]
    prompt_tokens: int
    cached_tokens: int | None
    tokens: int
    eval_seconds: float
    wall_seconds: float
    format: Json = None
    load_seconds: float = 0.0
    spoken: tuple[Spoken, ...] = ()


@dataclass(frozen=True)
class Noise:
    """How far a tag is from itself when asked again; nothing below it is a difference.

    `cached`: asked again at once, the prompt in the cache; `fresh`: after an unload, in the
    order of the first time.
    """

    state: Literal["cached", "fresh"]
    prompts: int
    positions: int
    same_top: float
    kl: float
    kl_most: float


@dataclass(frozen=True)
class BaselineKey:
    """What a baseline depends on; two of equal keys are one.

    `model_digest` is the hex sha256 of the source, `modelfile_digest` that of what the tag adds to
    every prompt (template, system text, parameters), `options` those that every answer is generated
    with, `device` is "cpu", "gpu" or "cpu+gpu".
    """

    model_digest: str
    suite_digest: str
    quant: str
    options: Mapping[str, Json]
    server: str
    engine: str
    device: str
    modelfile_digest: str = ""


@dataclass(frozen=True)
class Baseline:
    """The full-precision answers to a suite. `digest` is the hex sha256 of its content.

    `noise` is how far it is from itself, asked again; not part of the digest.
    """

    key: BaselineKey
    suite: str
    tag: str
    answers: tuple[TracedAnswer, ...]
    recorded: str
    digest: str = ""
    full_precision: bool = True
    noise: tuple[Noise, ...] = ()

    @property
    def stand_in(self) -> str:
        """A sentence where it is no full-precision model, else ""."""
        if self.full_precision:
            return ""
        return f"{self.key.quant} stands in for full precision, which ran nowhere"


@dataclasses.dataclass(frozen=True, slots=True)
class Position:
    """One token of a baseline's answer, under a quant.

    `same_top`: both hold the same token for the likeliest; None: can't be told. `kl` is a lower
    bound of KL(baseline || quant) in nats, `nll` and `baseline_nll` are the negative log
    probabilities of the baseline's token; None where this position was not scored.
    """

    index: int
    same_top: bool | None
    kl: float | None = None
    nll: float | None = None
    baseline_nll: float | None = None


@dataclass(frozen=True)
class PromptAgreement:
    """How one tag follows the baseline's answer to one prompt.

    `own` is the tag's own greedy answer, where it was asked for. `retokenized` and `merged`
    count the positions that were left out, `bounded` those whose token was not among the
    quant's likeliest ones (their `nll` is a lower bound). `requests` and `tokens` are what the
    server was asked for and generated.
    """

    prompt: str
    positions: tuple[Position, ...]
    end: End
    first_difference: int | None
    requests: int
    tokens: int
    seconds: float
    retokenized: int = 0
    merged: int = 0
    bounded: int = 0
    own: TracedAnswer | None = None
    cached_tokens: int | None = None
    retries: int = 0


@dataclass(frozen=True)
class Estimate:
    """A figure with its confidence interval; both ends None where there is too little data."""

    value: float
    low: float | None = None
    high: float | None = None
    confidence: float = 0.95


@dataclass(frozen=True)
class Decision:
    """Is a loss within `margin`, at `confidence`? `prompts_needed` where it can't be told yet.

    `loss` is in the unit of `what`; above zero is worse.
    """

    what: str
    call: Call
    loss: Estimate
    margin: float
    prompts: int
    prompts_needed: int | None = None


@dataclass(frozen=True)
class Stretch:
    """Figures over a stretch of answers: tokens `first` to `last` (counted from 0)."""

    first: int
    last: int
    positions: int
    same_top: float
    kl: float


@dataclass(frozen=True)
class Cost:
    """What measuring took; `plain_tokens` is what plainly generating the same answers takes."""

    requests: int = 0
    tokens: int = 0
    seconds: float = 0.0
    plain_tokens: int = 0


@dataclass(frozen=True)
class Agreement:
    """How one tag agrees with the baseline over a suite.

    `kl` is a lower bound of the mean KL divergence in nats per token: the likeliest tokens
    that both name, and one bucket for the rest; `noise_floor` is the noise of the tag or of the
    baseline in the same unit, whichever is more. `perplexity` is that of the baseline's answers
    under the tag, `baseline_perplexity` under the baseline itself, at the same positions.
    """

    tag: str
    quant: str
    baseline_digest: str
    prompts: tuple[PromptAgreement, ...]
    compared: int
    scored: int
    same_top: Estimate
    kl: Estimate
    perplexity: Estimate
    baseline_perplexity: float
    perplexity_ratio: Estimate
    by_position: tuple[Stretch, ...] = ()
    noise: tuple[Noise, ...] = ()
    noise_floor: float = 0.0
    cost: Cost = field(default_factory=Cost)
    stand_in: str = ""
    unanswered: tuple[str, ...] = ()

    @property
    def differs(self) -> bool:
        """Whether it is further from the baseline than either is from itself."""
        return self.kl.value > self.noise_floor

    @property
    def left_out(self) -> int:
        """Positions that could not be scored."""
        return sum(p.retokenized + p.merged for p in self.prompts)


@dataclass(frozen=True)
class Quality:
    """What is known of one tag: its checks, its agreement, and the baseline's own checks."""

    tag: str
    quant: str
    file_bytes: int
    verification: Verification
    agreement: Agreement | None
    baseline_verification: Verification | None = None


@dataclass(frozen=True)
class GateRule:
    """One rule of a gate and what it found; `reason` has the figures in words."""

    rule: str
    status: GateStatus
    reason: str
    value: float | None = None
    limit: float | None = None


DECIDING = ("checks lost", "perplexity", "agreement")
"""Rules by which a tag can be told to be not worse, the figure that counts most first."""


@dataclass(frozen=True)
class GateVerdict:
    """What a gate says of one tag.

    A tag is "worse" where a rule shows it, "not worse" where the first of `DECIDING` that can tell
    says so, else "undecided", which passes unless the gate `is_strict`: then it takes every rule.
    """

    tag: str
    quant: str
    rules: tuple[GateRule, ...]
    is_strict: bool = False

    @property
    def call(self) -> Call:
        if any(rule.status == "fail" for rule in self.rules):
            return "worse"
        return "not worse" if self.decided_by else "undecided"

    @property
    def decided_by(self) -> str:
        """The rule that tells that the tag is not worse; "" where none can."""
        told = {rule.rule for rule in self.rules if rule.status in ("pass", "warn")}
        return next((name for name in DECIDING if name in told), "")

    @property
    def ok(self) -> bool:
        return not self.failed

    @property
    def failed(self) -> tuple[GateRule, ...]:
        stops = {"fail", "undecided"} if self.is_strict else {"fail"}
        return tuple(rule for rule in self.rules if rule.status in stops)


@dataclass(frozen=True)
class Evidence:
    """One quant as it was judged: its figures, the gate, and whether it is not worse.

    `holds`: the gate passes, no loss is shown to reach its margin, and one is shown not to:
    `decided_by`. `why` says what speaks against it, or what could not be told.
    """

    quality: Quality
    verdict: GateVerdict
    decisions: tuple[Decision, ...]
    holds: bool
    why: str = ""
    decided_by: str = ""

    @property
    def call(self) -> Call:
        if self.holds:
            return "not worse"
        shown = {self.verdict.call, *(decision.call for decision in self.decisions)}
        return "worse" if "worse" in shown else "undecided"


@dataclass(frozen=True)
class Recommendation:
    """The smallest quant of a target that is not worse, with all that was judged for it.

    `evidence` is in the order of judging. `considered` are the quants that fit, best first.
    """

    target: str
    chosen: str | None
    why: str
    evidence: tuple[Evidence, ...]
    considered: tuple[str, ...]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class QualityReport:
    """Several tags of one model against one baseline, best first.

    `plan` is the plan of the model's targets with these quants.
    """

    model: str
    suite: str
    baseline: Baseline
    evidence: tuple[Evidence, ...]
    remarks: tuple[str, ...] = ()
    started: str = ""
    seconds: float = 0.0
    plan: Plan | None = None
