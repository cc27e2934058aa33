"""The importance matrix of a model: a file of the user's, or one made from its own suite.

It is kept by what went into it, made once, and part of the key of every artifact that was
quantized with it: the same source and quant with another matrix is another artifact.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from filelock import FileLock

from deployq import artifacts as kept
from deployq.digests import sha256_bytes
from deployq.errors import ConfigError, DiskError, ToolMissing
from deployq.files import open_regular
from deployq.pipeline.matrices import FILE, TEXT, uses_imatrix
from deployq.pipeline.resolve import Model
from deployq.pipeline.session import Session
from deployq.pipeline.texts import TextSource, Written, conversations, rendered, text_key
from deployq.setting_values import SUITE
from deployq.source.gguf import MAGIC, read_header
from deployq.types import Calibrator, Imatrix, ImatrixFacts, MeterText, ModelInfo, TextOptions

CHUNKS = 256
_NAMED = 3


def imatrix_key(session: Session, model: Model, digest: str, quant: str) -> str:
    """What the matrix of a quant is made from (hex sha256); empty where it takes none.

    Args:
        digest: that of the model's source.

    Raises:
        ConfigError, SuiteError: there is no such file, or no suite.
        ToolMissing: nothing here makes one.
    """
    return _key(session, model, digest) if uses_imatrix(model, quant) else ""


def ensure_imatrix(session: Session, model: Model, info: ModelInfo, digest: str) -> Imatrix | None:
    """The model's importance matrix, made or copied into the cache if it is not there.

    Raises:
        ConfigError, SuiteError: there is no such file, or no suite.
        ArtifactError: it is none, or one of another model.
        SourceError: the text is too short, or can't be rendered.
        ToolMissing, BackendError, DiskError: it can't be made here.
    """
    wanted = model.settings.imatrix
    if wanted is None:
        return None
    key = _key(session, model, digest)
    folder = session.cache_dir / "imatrix" / key[:40]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            if not (folder / FILE).is_file():
                _fill(session, model, info, digest, folder)
    except OSError as exc:
        raise DiskError(f"{folder} can't be written: {exc.strerror or exc}") from exc
    what = "the importance matrix of the suite" if wanted == SUITE else str(wanted)
    facts = read_matrix(folder / FILE)
    kept.require_fits(facts, info, what)
    made = Imatrix(
        folder / FILE,
        key,
        session.digests.sha256(folder / FILE),
        what,
        kept.missing_tensors(facts, info),
        facts.unseen,
    )
    for line in coverage(made):
        session.talk(line)
    return made


def coverage(imatrix: Imatrix) -> Iterator[str]:
    """What a matrix does not cover, in words."""
    if imatrix.missing:
        named = ", ".join(imatrix.missing[:_NAMED])
        more = f" and {len(imatrix.missing) - _NAMED} more" if len(imatrix.missing) > _NAMED else ""
        yield f"{imatrix.what} has nothing for {named}{more}: they are quantized without it"
    for name, experts in imatrix.unseen.items():
        yield (
            f"{imatrix.what}: no token was ever sent to {_experts_text(experts)} of {name}; a text "
            "with more in it (a larger suite) would reach them"
        )


def _experts_text(experts: tuple[int, ...]) -> str:
    return f"expert{'s' if len(experts) > 1 else ''} {', '.join(map(str, experts))}"


# ---------------------------------------------------------------- making


def _key(session: Session, model: Model, digest: str) -> str:
    wanted = model.settings.imatrix
    if isinstance(wanted, Path):
        try:
            return session.digests.sha256(wanted)
        except OSError as exc:
            raise ConfigError(
                f"cannot read the importance matrix {wanted}: {exc.strerror}",
                hint='imatrix = "suite" makes one from the suite',
            ) from exc
    maker = calibrator(session)
    made_by = f"{maker.name} {maker.health().version}"
    return sha256_bytes(json.dumps([SUITE, made_by, text_key(digest, _suite(session, model))]))


def _suite(session: Session, model: Model) -> Written:
    if model.settings.suite is None:
        raise ConfigError(
            f'imatrix = "suite", but {model.name} has no suite',
            hint=f"write suite = PATH under [models.{model.name}], or name a file of a matrix",
        )
    return conversations(session, model, TextSource(from_suite=True))


def _fill(session: Session, model: Model, info: ModelInfo, digest: str, folder: Path) -> None:
    """Put the matrix into its folder, whole or not at all."""
    draft = folder / f".{FILE}.tmp"
    wanted = model.settings.imatrix
    try:
        if isinstance(wanted, Path):
            kept.require_fits(read_matrix(wanted), info, str(wanted))
            shutil.copyfile(wanted, draft)
        else:
            _calibrate(session, model, info, digest, folder, draft)
        draft.chmod(0o444)
        draft.replace(folder / FILE)
    finally:
        draft.unlink(missing_ok=True)


def _calibrate(
    session: Session, model: Model, info: ModelInfo, digest: str, folder: Path, output: Path
) -> None:
    text = rendered(session, info, digest, _suite(session, model))
    # under a name that says nothing of this machine: it goes into every file
    named = folder / TEXT
    shutil.copyfile(text.path, named)
    options = TextOptions(max_chunks=CHUNKS, threads=session.config.tools.threads)
    calibrator(session).calibrate(
        info.files[0], MeterText(named, text.special, text.name), output, options, session.progress
    )


def calibrator(session: Session) -> Calibrator:
    """The first plugin that can make a matrix here.

    Raises:
        ToolMissing: none can.
    """
    brought = cast("dict[str, Calibrator]", session.plugins.named("deployq_calibrators"))
    reasons, hint = [], "deployq plugins"
    for name, one in brought.items():
        health = one.health()
        if health.ok:
            return one
        reasons.append(f"{name}: {health.detail}")
        hint = health.hint or hint
    why = "; ".join(reasons) or "no plugin brings one"
    raise ToolMissing(f"nothing here makes importance matrices ({why})", hint=hint)


def read_matrix(matrix: Path) -> ImatrixFacts:
    """What a matrix holds; the reader of the gguf package believes every count in a header.

    Raises:
        SourceError: a count or length in its header is not true.
        ArtifactError: it can't be read, or is none.
    """
    with open_regular(matrix) as file:
        is_gguf = file.read(len(MAGIC)) == MAGIC
    if is_gguf:
        read_header(matrix)
    return kept.read_imatrix(matrix)
