"""Registration as a transaction: a tag is staged, verified, and only then given its name.

The steps are functions of their own, so that several tags can be staged and verified before the
first is promoted: `stage` (upload, create under a staging name), the caller's verification,
`promote` (the server's own copy, for all of a set or none), `discard` (the staging name). What a
name held before is kept as a generation (history.py) before it is overwritten; `restore` puts it
back, unless somebody else gave the name something since.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from http import HTTPStatus
from pathlib import Path

from deployq.errors import ModelfileError, ServerError, ServerRefused
from deployq.records import dataclass
from deployq.tags.blobs import Placed, mtime_kept, place_blob
from deployq.tags.history import beyond, generations, kept_name
from deployq.tags.journal import Swap
from deployq.tags.modelfile import Modelfile
from deployq.tags.names import TagName, owner_of, staging_name
from deployq.tags.records import TagRecord, find_tag, staged_names
from deployq.tags.server import Server
from deployq.tags.steps import Steps
from deployq.types import Artifact, Part, Progress, no_progress


@dataclass(frozen=True)
class Staged:
    """A tag under its staging name; `manifest_digest` is what its final name shall hold.

    `blob_digest` is that of the weights as the server keeps them: servers before Ollama 0.34.1
    may write the file anew. `parts` are registered with it.
    """

    name: TagName
    staging: TagName
    manifest_digest: str
    blob_digest: str
    parts: tuple[Part, ...] = ()


# ---------------------------------------------------------------- stage


def stage(
    server: Server,
    steps: Steps,
    tag: TagName,
    modelfile: Modelfile,
    artifact: Artifact,
    progress: Progress = no_progress,
    models_dir: Path | None = None,
    parts: Sequence[Part] = (),
    *,
    owner: str,
) -> Staged:
    """Create a tag under its staging name; the tag itself is untouched.

    Args:
        owner: the id of the push, in the staging name.
        models_dir: where the server may keep its models on this machine: what is linked there
            is not uploaded.
        parts: a projector or an adapter that is registered with the weights.

    Raises:
        ServerError: the server failed; nothing is left under the staging name.
    """
    staging = staging_name(tag, owner)
    with steps.step("upload") as outcome:
        for part in parts:
            place_blob(server, models_dir, part.artifact, progress)
        placed = place_blob(server, models_dir, artifact, progress)
        outcome.bytes = placed.moved_bytes
        outcome.status = "reused" if placed.how == "present" else "done"
        outcome.detail = "the server has it" if placed.how == "present" else _how(placed)
    try:
        with steps.step("create") as outcome, mtime_kept(artifact.path):
            staged = _create(server, tag, staging, modelfile, artifact, progress, parts)
            if staged.blob_digest != artifact.digest:
                outcome.detail = "the server wrote the file anew"
    except BaseException:
        discard(server, staging)
        raise
    return staged


def create_again(
    server: Server, staged: Staged, modelfile: Modelfile, artifact: Artifact
) -> Staged:
    """Create a staged tag anew from another Modelfile; its weights are there already.

    Raises:
        ServerError: the server failed or refused; the staged tag may then be as it was.
    """
    names = (staged.name, staged.staging)
    return _create(server, *names, modelfile, artifact, no_progress, staged.parts)


def _how(placed: Placed) -> str:
    why = f": {placed.detail}" if placed.detail else ""
    return f"{placed.how}{why}"


def require_weights(
    tag: TagName, modelfile: Modelfile, file_name: str, parts: Sequence[Part] = ()
) -> None:
    """Make sure that FROM names the file that is sent, and that every part is named.

    Raises:
        ModelfileError: it names another, or leaves one out.
    """
    if modelfile.from_ != file_name:
        raise ModelfileError(
            f"FROM {modelfile.from_}: the weights of {tag} are {file_name}",
            hint="FROM {{ from_ }} in the template",
        )
    for part in parts:
        if getattr(modelfile, part.kind) != part.file_name:
            command = "ADAPTER" if part.kind == "adapter" else "FROM"
            raise ModelfileError(
                f"{tag}: its Modelfile leaves out the {part.kind} {part.file_name}",
                hint=f"{command} {{{{ {part.kind} }}}} in the template, where it is set",
            )


def discard(server: Server, staging: TagName) -> None:
    """Remove a staging name, if it is there; out of memory, too, where verifying loaded it.

    What went wrong before matters more than what is left: the next push cleans up.
    """
    with contextlib.suppress(ServerError):
        server.unload(str(staging))
    with contextlib.suppress(ServerError):
        server.delete(str(staging))


def clear_staging(server: Server, model: str, owner: str | None = None) -> list[str]:
    """Remove what earlier pushes of a model left staged, or one of them; gives the names."""
    left = [
        name
        for name in staged_names(server.tags(), model)
        if owner is None or owner_of(name) == owner
    ]
    for name in left:
        discard(server, TagName.parse(name))
    return left


# ---------------------------------------------------------------- promote, restore


def swap_of(held: Sequence[TagRecord], name: TagName, source: TagName, after: str) -> Swap:
    """What giving `name` the content of `source` changes, among the tags of a server."""
    mine = find_tag(held, name)
    if mine is None:
        return Swap(name, source, after)
    kept = None if mine.digest == after else kept_name(held, name, mine.digest)
    return Swap(name, source, after, mine.digest, kept)


def promote(server: Server, swaps: Sequence[Swap]) -> None:
    """Give every name of a set its new content; what they held is kept first.

    Raises:
        ServerError: a name does not hold what it should; `restore` puts all of them back.
    """
    for swap in swaps:
        if swap.kept is not None:
            server.copy(str(swap.name), str(swap.kept))
    held = _require(server, {swap.kept: swap.before or "" for swap in swaps if swap.kept})
    _require_unchanged(server, held or server.tags(), swaps)
    for swap in swaps:
        server.copy(str(swap.source), str(swap.name))
    _require(server, {swap.name: swap.after for swap in swaps})


@dataclass(frozen=True)
class Restored:
    """The names that needed to be put back; and those that were not.

    `lost` says where the content of each was kept, `left` what each holds by somebody else's hand,
    the digest of a manifest ("": nothing).
    """

    names: tuple[str, ...] = ()
    lost: Mapping[str, str] = field(default_factory=dict)
    left: Mapping[str, str] = field(default_factory=dict)


def restore(server: Server, swaps: Sequence[Swap]) -> Restored:
    """Give every name of a set that holds its new content the content that it held before.

    It also mends a name whose manifest was cut short when the server died. A name that somebody
    else gave other content, or took away, stays as it is; so does one whose earlier content is kept
    nowhere any more.

    Raises:
        ServerError: it can't be done now.
    """
    held = server.tags()
    wrong = [swap for swap in swaps if _digest(held, swap.name) != swap.before]
    left = [swap for swap in wrong if not _is_ours(server, held, swap)]
    ours = [swap for swap in wrong if swap not in left]
    lost = [swap for swap in ours if swap.before not in (None, _digest(held, swap.backup))]
    back = [swap for swap in ours if swap not in lost]
    for swap in swaps:
        unlisted = swap.before is None and _digest(held, swap.name) is None  # or cut short
        if unlisted or (swap in back and swap.before is None):
            take_away(server, swap.name, held)
        elif swap in back:
            server.copy(str(swap.backup), str(swap.name))
    _require(server, {swap.name: swap.before for swap in back if swap.before})
    return Restored(
        tuple(str(swap.name) for swap in back),
        {str(swap.name): str(swap.backup) for swap in lost},
        {str(swap.name): _digest(held, swap.name) or "" for swap in left},
    )


def _is_ours(server: Server, held: Sequence[TagRecord], swap: Swap) -> bool:
    """Whether a name holds what this swap put there, or a manifest that nobody can read."""
    found = _digest(held, swap.name)
    if found is not None:
        return found == swap.after
    try:
        server.show(str(swap.name))
    except ServerRefused as exc:
        return exc.status != HTTPStatus.NOT_FOUND
    return False  # it came back in this moment


def forget(server: Server, name: TagName, keep: int, mine: Callable[[str], bool]) -> list[str]:
    """Let go of a tag's oldest generations, all but `keep`; gives their names.

    Args:
        mine: whether the content with this manifest digest is the caller's to let go.
    """
    held = server.tags()
    current = find_tag(held, name)
    kept = {n: record for n, record in generations(held, name).items() if mine(record.digest)}
    gone = [record.name for record in beyond(kept, current.digest if current else "", keep)]
    for old in gone:
        server.delete(old)
    return gone


def _require(server: Server, wanted: dict[TagName, str]) -> list[TagRecord]:
    """Make sure that names hold these contents; gives the tags that the server has."""
    held = server.tags() if wanted else []
    for name, digest in wanted.items():
        found = _digest(held, name)
        if found != digest:
            raise ServerError(
                f"{server.url}: {name} holds {found[:12] if found else 'nothing'}, "
                f"not {digest[:12]}",
                hint="does something else write that tag? Push again",
            )
    return held


def _require_unchanged(server: Server, held: Sequence[TagRecord], swaps: Sequence[Swap]) -> None:
    """Make sure that every name still holds what was kept of it.

    Raises:
        ServerError: somebody changed one meanwhile.
    """
    for swap in swaps:
        found = _digest(held, swap.name)
        if found != swap.before:
            holds = f"holds sha256:{found[:12]}" if found else "is gone"
            raise ServerError(
                f"{server.url}: somebody else changed {swap.name} just now: it {holds}; "
                "nothing was promoted",
                hint="push again: what it holds then is kept as a generation",
            )


def _digest(held: Sequence[TagRecord], name: TagName) -> str | None:
    found = find_tag(held, name)
    return found.digest if found else None


def take_away(server: Server, name: TagName, held: Sequence[TagRecord]) -> None:
    """Remove a name, if it is there, also one whose manifest was cut short when the server died.

    Args:
        held: tags that the server has.

    Raises:
        ServerError: it can't be done now.
    """
    try:
        server.delete(str(name))
    except ServerRefused as exc:
        whole = [record for record in held if not name.same(record.name)]
        if exc.status == HTTPStatus.NOT_FOUND or not whole:
            return
        # A manifest that was cut short can't be deleted, only written over: by anything.
        server.copy(whole[0].name, str(name))
        server.delete(str(name))


# ---------------------------------------------------------------- take away


def remove(server: Server, tag: TagName) -> None:
    """Remove a tag, out of memory too: without its name nothing takes it out any more.

    Raises:
        ServerRefused: there is no such tag.
    """
    if any(tag.same(loaded.name) for loaded in server.ps()):
        server.unload(str(tag))
    server.delete(str(tag))


def _create(
    server: Server,
    tag: TagName,
    staging: TagName,
    modelfile: Modelfile,
    artifact: Artifact,
    progress: Progress,
    parts: Sequence[Part],
) -> Staged:
    files = {modelfile.from_: artifact.digest}
    files |= {part.file_name: part.artifact.digest for part in parts}
    server.create(str(staging), modelfile, files, progress)
    held = server.tag(str(staging))
    if held is None:
        raise ServerError(
            f"{server.url} said that it created {staging}, but does not list it",
            hint="the server's own log says more; then repeat the command",
        )
    blob = server.show(str(staging)).blob_digest or artifact.digest
    return Staged(tag, staging, held.digest, blob, tuple(parts))
