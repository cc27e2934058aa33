"""A plan and reports with everything in them that a reader may meet."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from deployq.types import (
    Answer,
    CachedArtifact,
    Candidate,
    DiskPlan,
    DiskStep,
    Explanation,
    FileSystem,
    Fit,
    HeldTag,
    Judged,
    Leftover,
    Leftovers,
    Memory,
    Message,
    ModelInfo,
    Plan,
    Prompt,
    PromptResult,
    Pruned,
    QuantSize,
    Report,
    Share,
    Speed,
    StepResult,
    TagReport,
    Target,
    TargetPlan,
    TargetReport,
    TensorGroup,
    Term,
    TogetherPlan,
    Verdict,
    Verification,
)

GIB, MIB = 2**30, 2**20

SOURCE = ModelInfo(
    path=Path("models/llama-3-8b-f16.gguf"),
    files=(Path("models/llama-3-8b-f16.gguf"),),
    architecture="llama",
    name="Llama 3 8B",
    dtype="F16",
    quantized=False,
    n_params=8_030_261_248,
    n_ctx_train=8192,
    header_bytes=7_800_000,
    file_bytes=16_068_891_392,
    metadata={},
    array_lengths={},
    tensors=(),
)
# Real sizes of Llama-3-8B; the last has fallbacks, as SmolLM2's quants have.
SIZES = (
    QuantSize("Q4_K_M", 4_920_734_464, 4.89),
    QuantSize("F16", 16_068_891_392, 16.01),
    QuantSize("Q8_0", 8_540_770_048, 8.5),
    QuantSize("Q6_K", 6_596_006_656, 6.56),
    QuantSize("Q5_K_M", 5_732_987_648, 5.7, fallback_tensors=30),
)
LAPTOP = Target("laptop", "ram", 16 * 10**9, 5 * 10**9, 8192)
GPU = Target("4090", "vram", 24 * 10**9, 800 * 10**6, 8192, "q8_0/f16", "max", True)
WATCH = Target("watch", "unified", 2 * 10**9, 10**9, 2048)


def candidate(size: QuantSize, target: Target) -> Candidate:
    memory = Memory(size.file_bytes, GIB if target.n_ctx == 8192 else GIB // 4, 164 * MIB)
    budget = target.budget_bytes
    verdict: Fit = "fits" if memory.total_bytes < 0.9 * budget else "tight"
    if memory.total_bytes > budget:
        verdict = "no"
    context = {"no": 0, "tight": target.n_ctx}.get(verdict, 8192)
    speed = Speed(71.6, 103.4, 135.2) if target.kind == "vram" and verdict != "no" else None
    reason = f"needs {memory.total_bytes} of {budget}"
    return Candidate(size, memory, verdict, reason, speed, context)


def target_plan(
    target: Target,
    chosen: str | None,
    why: str,
    build: tuple[str, ...] = (),
    advice: tuple[str, ...] = (),
) -> TargetPlan:
    candidates = tuple(candidate(size, target) for size in SIZES)
    built = build or ((chosen,) if chosen else ())
    return TargetPlan(target, candidates, chosen, why, built, advice)


GROWTH = (
    "if the model grows: Q8_0 fits up to 2.3 times its size (18.5B parameters), "
    "Q4_K_M up to 3.7 times"
)
CACHE = (
    "Ollama can't set a KV cache of type q8_0/f16: it knows f16, q8_0, q4_0, the same for keys "
    "and values; llama-server can"
)

PLAN = Plan(
    model="task-api",
    source=SOURCE,
    targets=(
        target_plan(
            LAPTOP,
            "Q4_K_M",
            "Q4_K_M is what the goal 'balanced' asks for, and it fits: 5.7 GiB of 10.2 GiB at a "
            "context of 8192",
            ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M"),
        ),
        target_plan(
            GPU,
            "Q8_0",
            "the best up to Q8_0 that fits",
            advice=(GROWTH, CACHE),
        ),
        target_plan(
            WATCH,
            None,
            "nothing fits: even Q4_K_M needs 5.0 GiB, 4.0 GiB more than the 953.7 MiB there are; "
            "a smaller model is needed, or a machine with more memory",
        ),
    ),
    disk=DiskPlan(
        38_000_000_000,
        61_000_000_000,
        (
            DiskStep("artifact Q8_0", 8_540_770_048, "artifacts"),
            DiskStep("copy of Q8_0 in Ollama's models", 8_540_770_048, "Ollama's models"),
        ),
        (
            FileSystem("artifacts", Path("cache"), 19_000_000_000, 61_000_000_000),
            FileSystem("Ollama's models", Path("models"), 19_000_000_000, 18_000_000_000),
        ),
    ),
    notes=("compute buffers are those of llama.cpp's CPU build",),
    judged=(
        Judged("file of Q8_0", 8_540_770_048, 8_540_770_048, "llama-quantize b11434"),
        Judged("KV cache at 8192, f16", 1_073_741_824, 1_074_790_400, "llama-fit-params"),
        Judged("compute at 8192, f16", 171_966_464, 173_015_040, "llama-fit-params"),
        Judged("compute at 2048, f16", 171_966_464, 343_932_928, "llama-fit-params"),
    ),
    warnings=(
        "Q5_K_M is not what its name says here: 30 of 291 tensors get a larger type than it",
    ),
)


def together(target: Target, extra: int, verdict: Fit, why: str) -> TogetherPlan:
    shares = (
        Share("task-api", candidate(SIZES[4], target), 8192),
        Share("chat", candidate(SIZES[0], target), 4096),
    )
    return TogetherPlan(target, shares, extra, verdict, why)


TOGETHER = (
    together(GPU, 555 * MIB, "fits", "they fit together: 12.8 GiB of 21.6 GiB"),
    together(LAPTOP, 0, "no", "they don't fit together: 12.2 GiB of 10.2 GiB"),
)
EXPLAINED = Explanation(
    target=LAPTOP,
    candidate=candidate(SIZES[0], LAPTOP),
    groups=(
        TensorGroup("token_embd", "Q4_K", 1, 525_336_576, 295_501_824),
        TensorGroup("attn_v", "Q6_K", 16, 67_108_864, 55_050_240),
        TensorGroup("attn_v", "Q4_K", 16, 67_108_864, 37_748_736),
    ),
    file=(
        Term("tensors", "291 tensors, each padded to 32 bytes", 4_912_934_464),
        Term("header", "metadata, vocabulary and tensor list", 7_800_000),
    ),
    kv_cache=(Term("attention", "32 layers × 8192 cells × (1024 of a key × 16 bits + more)", GIB),),
    compute=(Term("output", "128,256 tokens of the vocabulary × 4 bytes", 164 * MIB),),
    weights=(Term("weights", "the file without its 0 bytes of header", SIZES[0].file_bytes),),
)


def answer(text: str, tokens: int = 24, done_reason: str = "stop") -> Answer:
    return Answer(text, done_reason, 40, tokens, tokens / 800, 0.0, tokens / 700)


def prompt(name: str, user: str) -> Prompt:
    return Prompt(name, (Message("user", user),), {}, {"json_equals": {}, "stops": True})


def passed(number: int) -> PromptResult:
    verdicts = (Verdict("json_equals", True), Verdict("stops", True))
    return PromptResult(prompt(f"good-{number}", "List my tasks"), answer("{}"), verdicts)


FAILED = (
    PromptResult(
        prompt("create-review-report", "Create a task: Review quarterly report by Friday"),
        answer('{"action": "create_task", "title": "Review report",\n "due_date": "Friday"}'),
        (
            Verdict(
                "json_equals",
                False,
                '$.title is "Review report", not "Review quarterly report"',
            ),
            Verdict("stops", True),
        ),
    ),
    PromptResult(
        prompt("never-stops", "Delete task 12, please; " + "and mind the details " * 12),
        answer("\x1b[31m[bold]delete delete delete [/bold]" + "delete " * 60, 128, "length"),
        (
            Verdict("json_equals", False, "it is not JSON: Expecting value: line 1 column 1"),
            Verdict("stops", False, "it did not end by itself: cut off after 128 tokens"),
        ),
    ),
    PromptResult(
        prompt("silent", "What is due today?"),
        None,
        (Verdict("answered", False, "http://127.0.0.1:11434 did not answer in 120 s"),),
    ),
    PromptResult(
        prompt("empty", "What is due tomorrow?"),
        answer("", 1),
        (Verdict("json_equals", False, "it is empty, not JSON"),),
    ),
)


def verification(tag: str, failed: int = 0, threshold: float = 0.9) -> Verification:
    results = (*FAILED[:failed], *(passed(number) for number in range(24 - failed)))
    return Verification("task-api", tag, threshold, results, 3.21, "5" * 64)


def tag(quant: str, failed: int = 0, threshold: float = 0.9) -> TagReport:
    name = f"task-api:{quant.lower()}"
    judged = verification(name, failed, threshold)
    size = next(size for size in SIZES if size.quant == quant)
    return TagReport(
        tag=name,
        quant=quant,
        status="done" if judged.ok else "failed",
        file_bytes=size.file_bytes,
        blob_digest="a" * 64,
        modelfile_digest="b" * 64,
        reason="" if judged.ok else f"{24 - failed} of 24 prompts passed",
        steps=(
            StepResult("quantize", "done", 12.34567, size.file_bytes),
            StepResult("verify", "done" if judged.ok else "failed", 3.21),
        ),
        verification=judged,
    )


def unchanged(report: TagReport, why: str = "same as in deployq.lock") -> TagReport:
    return replace(report, status="unchanged", reason=why, verification=None, steps=())


ALIAS = TagReport(
    "task-api:laptop", "Q4_K_M", "done", 4_920_734_464, n_ctx=8192, alias_of="task-api:q4_k_m"
)
GPU_ALIAS = replace(ALIAS, tag="task-api:4090", quant="Q8_0", alias_of="task-api:q8_0")
HERE = "http://127.0.0.1:11434"

GOOD = Report(
    model="task-api",
    plan=PLAN,
    targets=(
        TargetReport(
            "laptop",
            HERE,
            "embedded",
            "done",
            "Q4_K_M",
            ALIAS,
            (tag("Q8_0"), tag("Q6_K"), tag("Q5_K_M", 1), tag("Q4_K_M")),
            "no host is given: the default server",
        ),
        TargetReport(
            "4090", HERE, "embedded", "done", "Q8_0", GPU_ALIAS, (unchanged(tag("Q8_0")),)
        ),
    ),
    started="2026-11-25T01:50:03Z",
    seconds=43.21,
    run_dir=Path(".deployq/runs/2026-11-25T01-50-03Z"),
)
BAD = replace(
    GOOD,
    targets=(
        replace(
            GOOD.targets[0],
            status="failed",
            alias=None,
            tags=(tag("Q8_0"), tag("Q4_K_M", 4)),
            reason="task-api:q4_k_m did not pass its suite; task-api:laptop is as it was",
            exit_code=4,
        ),
        replace(
            GOOD.targets[1],
            host="http://gpu.example:11434",
            runtime="ollama",
            status="failed",
            alias=None,
            tags=(),
            reason="nothing answers at http://gpu.example:11434",
            exit_code=5,
        ),
    ),
)
QUIET = replace(
    GOOD,
    seconds=0.312,
    targets=(
        replace(
            GOOD.targets[0],
            alias=unchanged(ALIAS),
            tags=tuple(unchanged(t) for t in GOOD.targets[0].tags),
            reason="",
        ),
    ),
)
HELD = (
    HeldTag("gemma3:4b", HERE, "Q4_K_M", 3_300_000_000, "d" * 64, "2026-01-02T03:04:05Z"),
    HeldTag(
        "task-api:laptop",
        HERE,
        "Q4_K_M",
        4_920_734_464,
        "e" * 64,
        made_here=True,
        changed=True,
        alias_of="task-api:q4_k_m",
        n_ctx=8192,
    ),
    HeldTag(
        "task-api:q4_k_m",
        HERE,
        "Q4_K_M",
        4_920_734_464,
        "f" * 64,
        made_here=True,
        passed=23,
        total=24,
        tokens_per_second=803.4,
        pushed_at="2026-11-25T01:50:46Z",
    ),
)
NEXT = (
    ("ollama run task-api:laptop", "talk to it"),
    ("deployq list", "what is registered where"),
    ("deployq show task-api:q4_k_m --modelfile", "what was created"),
)
LEFT = Leftovers(
    (
        Leftover("staged tag", "deployq-staging/task-api:q8_0", 5_000_000_000, 600, "a push ended"),
        Leftover("blob", f"sha256-{'a' * 64}", 900, 900, "no tag has it", made_here=False),
    ),
    ("a push is under way",),
)
PRUNED = (Pruned(LEFT.items[0], 600), Pruned(LEFT.items[1], 0, "it is gone already"))
CACHED = CachedArtifact(
    key="3f" * 32,
    quant="Q4_K_M",
    file_bytes=4_920_734_464,
    digest="f" * 64,
    source_digest="a" * 64,
    backend="llamacpp",
    backend_version="b11434",
    finished="2026-11-25T01:50:46+00:00",
    used="2026-11-25T02:50:46+00:00",
    links=1,
    tags=("task-api:q4_k_m",),
)
