"""Baselines: full-precision answers to a suite, recorded once, kept by content, portable.

    <root>/baselines/<key digest>.jsonl.gz       a header line, then one answer a line
    <root>/baselines/<key digest>.partial.jsonl  what an interrupted recording has so far
    <root>/baselines/<key digest>.seams.json     where answers can be taken up (following.py)

The file is all that another machine needs: a small target never has to hold full precision.
"""

from __future__ import annotations

import dataclasses
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deployq.digests import sha256_bytes
from deployq.errors import ArtifactError, DiskError
from deployq.proof.following import Seams
from deployq.proof.journal import Journal, pack_answer, unpack_answer
from deployq.types import Baseline, BaselineKey, Noise, TracedAnswer

SCHEMA = 1
SUFFIX = ".jsonl.gz"
FULL_PRECISION = ("F32", "F16", "BF16")


def key_digest(key: BaselineKey) -> str:
    """Hex sha256 of what a baseline depends on."""
    return sha256_bytes(json.dumps(dataclasses.asdict(key), sort_keys=True))


def finished(
    key: BaselineKey,
    suite: str,
    tag: str,
    answers: Iterable[TracedAnswer],
    noise: Iterable[Noise] = (),
) -> Baseline:
    """A baseline of these answers, with the digest of its content."""
    kept = tuple(answers)
    content = json.dumps([pack_answer(answer) for answer in kept], sort_keys=True)
    return Baseline(
        key=key,
        suite=suite,
        tag=tag,
        answers=kept,
        recorded=datetime.now(UTC).isoformat(timespec="seconds"),
        digest=sha256_bytes(key_digest(key) + sha256_bytes(content)),
        full_precision=key.quant.upper() in FULL_PRECISION,
        noise=tuple(noise),
    )


class BaselineStore:
    """The baselines below a folder, `$XDG_CACHE_HOME/deployq` as a rule."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "baselines"

    def get(self, key: BaselineKey) -> Baseline | None:
        """The baseline of exactly this key; one that is damaged is not there."""
        path = self._path(key)
        return _whole(path) if path.exists() else None

    def find(self, model_digest: str, suite_digest: str) -> list[Baseline]:
        """Every baseline of a model and suite, wherever it was recorded; the newest first.

        Those in full precision come before those that stand in for it.
        """
        paths = sorted(self.folder.glob(f"*{SUFFIX}"))
        mine = (path for path in paths if _is_of(_header(path), model_digest, suite_digest))
        found = [baseline for path in mine if (baseline := _whole(path)) is not None]
        return sorted(found, key=lambda b: (b.full_precision, b.recorded), reverse=True)

    def save(self, baseline: Baseline) -> Path:
        """Keep a baseline; an unfinished recording of it is gone afterwards.

        Raises:
            DiskError: it can't be written.
        """
        path = write_baseline(self._path(baseline.key), baseline)
        self.unfinished(baseline.key).remove()
        return path

    def take(self, file: Path) -> Baseline:
        """Import a baseline that another machine recorded.

        Raises:
            ArtifactError: it is none, or not whole.
        """
        baseline = read_baseline(file)
        self.save(baseline)
        return baseline

    def unfinished(self, key: BaselineKey) -> Journal:
        """Where a recording keeps what it has so far."""
        return Journal(self.folder / f"{key_digest(key)}.partial.jsonl")

    def seams(self, baseline: Baseline) -> dict[str, Seams]:
        """Where answers can be taken up, by prompt; empty where nothing is known yet."""
        known: Mapping[str, Mapping[str, bool]] = {}
        path = self._seams_path(baseline)
        if path.exists():
            try:
                known = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                known = {}  # it is asked anew
        return {
            answer.prompt: {int(at): ok for at, ok in known.get(answer.prompt, {}).items()}
            for answer in baseline.answers
        }

    def keep_seams(self, baseline: Baseline, seams: Mapping[str, Seams]) -> None:
        """Remember where answers can be taken up."""
        _write(self._seams_path(baseline), json.dumps(seams).encode())

    def path_of(self, baseline: Baseline) -> Path:
        """The file of a baseline that is kept."""
        return self._path(baseline.key)

    def _path(self, key: BaselineKey) -> Path:
        return self.folder / f"{key_digest(key)}{SUFFIX}"

    def _seams_path(self, baseline: Baseline) -> Path:
        return self.folder / f"{baseline.digest}.seams.json"


# ---------------------------------------------------------------- the file


def write_baseline(path: Path, baseline: Baseline) -> Path:
    """Write a baseline's file, whole or not at all.

    Raises:
        DiskError: it can't be written.
    """
    header = {
        "schema": SCHEMA,
        "kind": "deployq baseline",
        **{f.name: getattr(baseline, f.name) for f in dataclasses.fields(baseline)},
        "key": dataclasses.asdict(baseline.key),
        "answers": len(baseline.answers),
        "noise": [dataclasses.asdict(one) for one in baseline.noise],
    }
    lines = [header, *map(pack_answer, baseline.answers)]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    _write(path, gzip.compress(text.encode(), mtime=0))
    return path


_UNREADABLE = (
    OSError, EOFError, ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError,
    OverflowError, zlib.error,
)  # fmt: skip
"""What reading a file raises that is no baseline, or one that was cut or changed."""


def read_baseline(path: Path) -> Baseline:
    """Read a baseline's file, and check that it is whole.

    Raises:
        ArtifactError: it is none, or was changed.
    """
    try:
        lines = [json.loads(line) for line in _lines(path)]
        header = lines[0]
        key = BaselineKey(**header["key"])
        answers = [unpack_answer(line) for line in lines[1:]]
        noise = [Noise(**one) for one in header["noise"]]
        found = finished(key, header["suite"], header["tag"], answers, noise)
    except _UNREADABLE as exc:
        raise ArtifactError(
            f"{path} is no baseline: {exc}", hint="record it again, or copy the file again"
        ) from exc
    if found.digest != header.get("digest"):
        raise ArtifactError(
            f"{path} was changed after it was written: its digest is {found.digest[:12]}, "
            f"it says {str(header.get('digest'))[:12]}",
            hint="record it again, or copy the file again",
        )
    return dataclasses.replace(found, recorded=header["recorded"])


def _whole(path: Path) -> Baseline | None:
    try:
        return read_baseline(path)
    except ArtifactError:
        return None  # it is recorded again


def _lines(path: Path) -> Iterator[str]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from file


def _header(path: Path) -> Mapping[str, Any]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            header = json.loads(file.readline())
    except _UNREADABLE:
        return {}
    return header if isinstance(header, dict) else {}


def _is_of(header: Mapping[str, Any], model_digest: str, suite_digest: str) -> bool:
    key = header.get("key") or {}
    return (key.get("model_digest"), key.get("suite_digest")) == (model_digest, suite_digest)


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as exc:
        raise DiskError(f"cannot write {path}: {exc.strerror}") from exc
