"""The fit, proven after loading: what a server says that a loaded tag takes, against the plan."""

from __future__ import annotations

from deployq.errors import DoesNotFit, ServerRefused
from deployq.records import dataclass
from deployq.tags.names import TagName
from deployq.tags.records import Loaded
from deployq.tags.server import Server
from deployq.tags.steps import Steps
from deployq.types import TargetPlan
from deployq.units import format_bytes

# A difference is worth a word where it is over both: less is rounding and page tables.
SHARE = 0.05
LEAST_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Expected:
    """What the plan says of a loaded tag: bytes of weights, KV cache and compute, and context.

    `on_gpu` says that all of it was planned to lie on a GPU, `host_bytes` what would lie in RAM
    beside it. `unlisted_bytes` are those of the total that Ollama doesn't count (seen with 0.32.15
    and 0.34.4). `serving_known`: nobody had to assume how many requests the server answers at a
    time.
    """

    total_bytes: int
    n_ctx: int
    on_gpu: bool
    host_bytes: int = 0
    unlisted_bytes: int = 0
    serving_known: bool = True

    def counted(self, loaded: Loaded) -> int:
        """The planned bytes that a server's figure is held against: the nearest it may count.

        A server without a GPU counts the whole model, one that has it all on a GPU only what lies
        there (`MemorySize` in llm/llama_server.go).
        """
        planned = (
            self.total_bytes + host - unlisted
            for host in (0, self.host_bytes)
            for unlisted in (self.unlisted_bytes, 0)
        )
        return min(planned, key=lambda n: abs(loaded.size_bytes - n))


def expected_of(plan: TargetPlan) -> Expected | None:
    """What the chosen quant of a target takes there; None where nothing was chosen."""
    chosen = next((c for c in plan.candidates if c.quant == plan.chosen), None)
    if chosen is None:
        return None
    # Without a host of its own a target's tags go to the default server, whatever that has.
    on_gpu = plan.target.kind == "vram" and plan.target.host is not None
    memory = chosen.memory
    return Expected(
        memory.total_bytes - memory.unused_bytes,
        plan.target.n_ctx,
        on_gpu,
        memory.host_bytes,
        memory.unlisted_bytes,
        plan.target.serving.parallel_by != "assumed",
    )


def check_fit(
    server: Server, steps: Steps, name: TagName, expected: Expected, require: bool
) -> None:
    """Hold the plan against `/api/ps`, while the tag that was just verified is still loaded.

    Raises:
        DoesNotFit: there is a difference, and `require` says that it counts.
    """
    with steps.step("fit") as outcome:
        loaded = _loaded(server, name)
        if loaded is None:
            outcome.status, outcome.detail = "skipped", "the server unloaded it already"
            return
        outcome.bytes = loaded.size_bytes
        found = differences(loaded, expected)
        outcome.detail = "; ".join(found) or _agreement(loaded, expected)
        if found:
            outcome.status = "failed" if require else "warned"
        if found and require:
            raise DoesNotFit(
                f"{name.model}:{name.tag}, once loaded: {outcome.detail}",
                hint=_hint(expected),
            )


def _hint(expected: Expected) -> str:
    shown = "deployq plan --explain QUANT shows what was planned"
    if expected.serving_known:
        return shown
    return (
        f"{shown}; one request at a time was assumed: where the server answers more "
        "(OLLAMA_NUM_PARALLEL), write parallel = N for the target"
    )


def _loaded(server: Server, name: TagName) -> Loaded | None:
    """What a tag runs as: tags of equal weights and options share one, under one of their names."""
    running = server.ps()
    named = next((model for model in running if name.same(model.name)), None)
    if named is not None or not running:
        return named
    weights = server.show(str(name)).blob_digest
    same = (model for model in running if weights and _weights(server, model.name) == weights)
    return next(same, None)


def _weights(server: Server, name: str) -> str | None:
    try:
        return server.show(name).blob_digest
    except ServerRefused:  # its name was taken away meanwhile
        return None


def differences(loaded: Loaded, expected: Expected) -> list[str]:
    """What a loaded tag is otherwise than planned, in words."""
    found = []
    planned = expected.counted(loaded)
    more = loaded.size_bytes - planned
    if abs(more) > max(SHARE * planned, LEAST_BYTES):
        word = "more" if more > 0 else "less"
        found.append(
            f"it takes {format_bytes(loaded.size_bytes)}, {format_bytes(abs(more))} {word} than "
            f"planned"
        )
    if loaded.n_ctx is not None and loaded.n_ctx != expected.n_ctx:
        found.append(f"its context is {loaded.n_ctx}, not {expected.n_ctx}")
    spilt = loaded.size_bytes - loaded.vram_bytes
    if expected.on_gpu and spilt > 0:
        share = spilt / loaded.size_bytes
        found.append(f"{format_bytes(spilt)} of it ({share:.0%}) did not fit on the GPU")
    return found


def _agreement(loaded: Loaded, expected: Expected) -> str:
    counted = expected.counted(loaded)
    off = loaded.size_bytes / counted - 1
    where = " on the GPU" if loaded.vram_bytes else ""
    said = f"loaded: {format_bytes(loaded.size_bytes)}{where}, {off:+.1%} from the plan"
    if counted not in (expected.total_bytes, expected.total_bytes + expected.host_bytes):
        said += f"; Ollama doesn't count {format_bytes(expected.unlisted_bytes)} more of it"
    return said
