"""A run as its document tells it: what `deployq report` and `deployq compare` work on.

One shape for a push, a judgement of quants and a recommendation, so that whoever renders runs
(a report format) has to know one. What a run did not look at is None or empty.
"""

from __future__ import annotations

from typing import Literal

from deployq.records import dataclass
from deployq.types.base import Fit, MemoryKind, StepStatus
from deployq.types.quality import Decision, Estimate, GateRule, Noise, Stretch
from deployq.types.verification import Message, Verdict

RunKind = Literal["push", "quality", "recommendation"]
Standing = Literal["good", "warn", "bad", "unknown"]
_STANDINGS: dict[str, Standing] = {"failed": "bad", "warned": "warn", "skipped": "unknown"}


@dataclass(frozen=True)
class RunPrompt:
    """One prompt of the suite, with the answer of the full-precision baseline."""

    name: str
    messages: tuple[Message, ...] = ()
    baseline: str | None = None
    baseline_ok: bool | None = None


@dataclass(frozen=True)
class RunAnswer:
    """What a tag answered to a prompt, and how it agrees with the baseline's answer there.

    Of `positions` tokens `same_top` stay the likeliest. `kl` (a lower bound, nats) and
    `excess_nll` (nats that the baseline's tokens cost more than in full precision) are means
    over the `scored` tokens.
    """

    prompt: str
    ok: bool
    text: str | None = None
    done_reason: str | None = None
    failed: tuple[Verdict, ...] = ()
    tokens: int | None = None
    seconds: float | None = None
    positions: int = 0
    same_top: int = 0
    scored: int = 0
    kl: float | None = None
    excess_nll: float | None = None


@dataclass(frozen=True)
class RunAgreement:
    """The figures of an agreement; see `Agreement` for what each is."""

    compared: int
    scored: int
    left_out: int
    bounded: int
    same_top: Estimate
    kl: Estimate
    perplexity: Estimate
    baseline_perplexity: float
    perplexity_ratio: Estimate
    by_position: tuple[Stretch, ...] = ()
    noise: tuple[Noise, ...] = ()
    noise_floor: float = 0.0
    differs: bool = True
    requests: int = 0
    tokens: int = 0
    plain_tokens: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class RunTag:
    """One tag of a run. `holds` is None where nothing judged it against full precision.

    `pass_share` is the share of prompts that pass, with its interval where it has one.
    """

    tag: str
    quant: str
    file_bytes: int
    holds: bool | None = None
    why: str = ""
    status: StepStatus | None = None
    alias_of: str | None = None
    passed: int | None = None
    total: int | None = None
    pass_share: Estimate | None = None
    bits_per_weight: float | None = None
    tokens_per_second: float | None = None
    blob_digest: str | None = None
    modelfile_digest: str | None = None
    answers: tuple[RunAnswer, ...] = ()
    agreement: RunAgreement | None = None
    gate: tuple[GateRule, ...] = ()
    decisions: tuple[Decision, ...] = ()

    @property
    def standing(self) -> Standing:
        """How it stands, in one word."""
        if self.holds is None:
            return _STANDINGS.get(self.status or "", "good" if self.status else "unknown")
        if not self.holds:
            return "bad"
        return "warn" if any(rule.status == "warn" for rule in self.gate) else "good"


@dataclass(frozen=True)
class RunFit:
    """One quant on one target, as the plan weighed it."""

    quant: str
    total_bytes: int
    verdict: Fit


@dataclass(frozen=True)
class RunTarget:
    """One target: its budget, what it got (or what is recommended), and why.

    `file_limit_bytes` is the largest file that its budget has room for beside the KV cache and
    the compute buffers of the quants weighed.
    """

    name: str
    kind: MemoryKind
    budget_bytes: int
    n_ctx: int
    fits: tuple[RunFit, ...] = ()
    file_limit_bytes: int | None = None
    chosen: str | None = None
    ok: bool | None = None
    alias: str | None = None
    host: str | None = None
    planned: str | None = None
    reason: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Run:
    """All that a run's document says. `facts` are its provenance: names and values in words."""

    kind: RunKind
    model: str
    name: str
    suite: str
    started: str
    seconds: float
    exit_code: int | None
    targets: tuple[RunTarget, ...]
    tags: tuple[RunTag, ...]
    prompts: tuple[RunPrompt, ...]
    baseline_quant: str | None = None
    baseline_digest: str | None = None
    stand_in: str = ""
    remarks: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
