"""Runs as records: an ordinary one, a large one, and one with nothing but hostile texts in it."""

from __future__ import annotations

from dataclasses import replace

from deployq.types import (
    Decision,
    Estimate,
    GateRule,
    Message,
    Noise,
    Run,
    RunAgreement,
    RunAnswer,
    RunFit,
    RunPrompt,
    RunTag,
    RunTarget,
    Stretch,
    Verdict,
)

MIB = 2**20
SIZES = {"F16": 8.6, "Q8_0": 4.6, "Q6_K": 3.5, "Q5_K_M": 3.1, "Q4_K_M": 2.7, "Q2_K": 1.8}
LOSS = {"F16": 0.0, "Q8_0": 0.001, "Q6_K": 0.002, "Q5_K_M": 0.004, "Q4_K_M": 0.02, "Q2_K": 0.9}
HOSTILE = (
    "<script>document.title='ran'</script>",
    "</style><script>document.title='ran'</script>",
    "</title></svg></pre></td></table></main><img src=x onerror=\"document.title='ran'\">",
    "<img src='http://127.0.0.1:9/pixel'><link rel=stylesheet href='http://127.0.0.1:9/x.css'>",
    "]]><!--<iframe srcdoc='<script>parent.document.title=1</script>'>",
    "{{ 7 * 7 }} {% raw %} ${7*7} <%= 7 %>",
    "\u202eevil\u2066\u202d mirrored \u200b\u2060\ufeff",
    "nul \x00 bell \x07 ansi \x1b[31mred\x1b[0m \x1b]0;title\x07 back\x08space \r\n\x85",
    "👩\u200d👩\u200d👧\u200d👦 🇩🇪 " + "z" + "\u0301" * 40,
    "lone \ud800 surrogate \udfff",
    "' onmouseover='document.title=1' \" style=\"background:url(http://127.0.0.1:9/)\"",
    "javascript:document.title='ran'",
    "",
)


def answer(prompt: str, text: str | None, *, ok: bool = True, loss: float = 0.0) -> RunAnswer:
    failed = () if ok else (Verdict("json_equals", False, f"it is {text!r}, not this"),)
    return RunAnswer(prompt, ok, text, "stop", failed, 12, 0.05, 12, 12 - 4 * (not ok), 12,
                     loss / 2, loss)  # fmt: skip


def agreement(loss: float) -> RunAgreement:
    same = 1 - min(loss, 0.4) / 2
    return RunAgreement(
        compared=300, scored=298, left_out=2, bounded=0,
        same_top=Estimate(same, max(same - 0.02, 0), min(same + 0.01, 1)),
        kl=Estimate(loss / 2, loss / 3, loss),
        perplexity=Estimate(1.2 * (1 + loss), 1.2, 2.4),
        baseline_perplexity=1.2,
        perplexity_ratio=Estimate(1 + loss, 1 + loss * 0.8, 1 + loss * 1.3),
        by_position=(Stretch(0, 0, 20, 1.0, 0.0), Stretch(1, 1, 20, same, loss / 2),
                     Stretch(2, 3, 40, same, loss / 2)),
        noise=(Noise("cached", 4, 40, 1.0, 0.0002, 0.001),),
        noise_floor=0.0002, differs=loss > 0, requests=40, tokens=330, plain_tokens=300,
        seconds=9.0,
    )  # fmt: skip


def tag(quant: str, answers: tuple[RunAnswer, ...], **changes: object) -> RunTag:
    loss, passed = LOSS[quant], sum(one.ok for one in answers)
    bad = loss > 0.1
    rule = GateRule("perplexity", "fail" if bad else "pass", f"up by {loss:.0%}", loss, 0.1)
    made = RunTag(
        tag=f"task-api:{quant.lower()}", quant=quant, file_bytes=round(SIZES[quant] * MIB),
        holds=not bad, why="perplexity: up by 90 %" if bad else "", passed=passed,
        total=len(answers), pass_share=Estimate(passed / max(len(answers), 1), 0.2, 1.0),
        bits_per_weight=4.5, tokens_per_second=800.0, answers=answers,
        agreement=agreement(loss), gate=(rule,),
        decisions=(Decision("answer perplexity", "worse" if bad else "not worse",
                            Estimate(loss, loss * 0.8, loss * 1.3), 0.05, len(answers)),),
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


def target(name: str, budget: float, chosen: str | None) -> RunTarget:
    return RunTarget(
        name, "ram", round(budget * MIB), 512, (RunFit("Q8_0", 14 * MIB, "fits"),),
        round((budget - 9.5) * MIB), chosen, chosen is not None, reason="the smallest that holds",
    )  # fmt: skip


def run(prompts: int = 6, quants: tuple[str, ...] = tuple(SIZES)) -> Run:
    """A judgement in which Q2_K loses every second prompt."""
    asked = tuple(
        RunPrompt(f"prompt-{n}", (Message("user", f"Create task {n}"),), f'{{"id": {n}}}', True)
        for n in range(prompts)
    )
    tags = []
    for quant in quants:
        wrong = quant == "Q2_K"
        answers = tuple(
            answer(p.name, f'{{"di": {n}}}' if wrong and n % 2 else p.baseline,
                   ok=not (wrong and n % 2), loss=LOSS[quant])
            for n, p in enumerate(asked)
        )  # fmt: skip
        tags.append(tag(quant, answers))
    return Run(
        kind="quality", model="task-api", name="2026-11-25T10-07-18Z", suite="suite",
        started="2026-11-25T10:07:18+00:00", seconds=91.0, exit_code=None,
        targets=(target("laptop", 16000, "Q4_K_M"), target("watch", 13, "Q4_K_M")),
        tags=tuple(tags), prompts=asked, baseline_quant="F16", baseline_digest="d" * 64,
        remarks=("a remark",), facts=(("run", "2026"), ("baseline digest", "d" * 64)),
    )  # fmt: skip


def hostile_run() -> Run:
    """Every text that a page shows is hostile, each in every place."""
    asked, answers = [], []
    for text in HOSTILE:
        asked.append(RunPrompt(text, (Message(text, text),), f"ok {text}", True))
        wrong = Verdict(text, False, text)
        answers.append(RunAnswer(text, False, f"{text} other {text}", text, (wrong,)))
    bad = "".join(HOSTILE)
    rules = (GateRule(bad, "fail", bad), GateRule(bad, "warn", bad))
    tags = tuple(
        replace(one, tag=bad, quant=HOSTILE[n], gate=rules, why=bad, answers=tuple(answers))
        for n, one in enumerate(run().tags[:3])
    )
    spot = replace(run().targets[0], name=bad, chosen=bad, reason=bad, hint=bad, alias=bad)
    return replace(
        run(), model=bad, name=bad, suite=bad, started=bad, stand_in=bad, remarks=(bad,),
        tags=tags, prompts=tuple(asked), targets=(spot,), facts=((bad, bad),),
    )  # fmt: skip
