"""What a push needs on disk, before it starts."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from deployq.types import DiskPlan, DiskStep, QuantSize


def disk_plan(
    builds: Sequence[QuantSize],
    free_bytes: int,
    cached: Collection[str] = (),
    *,
    server_copies: bool = True,
) -> DiskPlan:
    """The bytes that each step leaves on disk.

    Args:
        builds: every distinct quant that the push builds, with its exact size.
        free_bytes: what is free where artifacts go.
        cached: quants whose artifact is there already.
        server_copies: whether the server keeps a copy of its own. It doesn't where the finished
            artifact can be linked into its store; that is known at create only, so a plan
            counts the copy.
    """
    steps = [
        DiskStep(f"artifact {size.quant}", size.file_bytes)
        for size in builds
        if size.quant not in cached
    ]
    if server_copies:
        steps += [DiskStep(f"server's copy of {s.quant}", s.file_bytes) for s in builds]
    return DiskPlan(sum(step.needed_bytes for step in steps), free_bytes, tuple(steps))
