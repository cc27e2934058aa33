"""How long registering a finished artifact takes: `python -m benchmarks.register_speed [RUNS]`.

A model of 1.3 GB with random weights is registered on a real Ollama (DEPLOYQ_TEST_OLLAMA names
its binary) by deployq's way (link, create) and by `ollama create`, each on a store without it;
then a Q8_0 of it is pushed from the shell, and pushed again with nothing to do. Everything lies
in a temporary folder: 5 GB are needed in TMPDIR.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from deployq import Endpoint
from deployq.digests import sha256_file
from deployq.tags.blobs import mtime_kept, place_blob
from deployq.tags.modelfile import Modelfile
from deployq.tags.server import Server
from deployq.types import Artifact
from deployq.units import format_bytes
from tests.ollama_fixtures import running_ollama
from tests.tiny import write_tiny_llama

NEEDED_BYTES = 5 * 10**9
REGISTER_LIMIT_SECONDS, REGISTER_LIMIT_SHARE = 0.3, 1 / 3
REPUSH_LIMIT_SECONDS = 0.5
CONFIG = """
cache = "cache"
[models.big]
source = "big.gguf"
suite = "suite.toml"
quants = ["Q8_0"]
parameters = {{ num_ctx = 256 }}
[targets.here]
memory = "16GB"
kind = "ram"
context = 256
host = "{url}"
"""
SUITE = 'options = { num_predict = 1 }\n[[prompts]]\nuser = "hi"\ncheck.max_tokens = 1\n'


def main() -> None:
    """Print what was measured, and the limits."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    binary = Path(os.environ["DEPLOYQ_TEST_OLLAMA"])
    with tempfile.TemporaryDirectory(prefix="deployq-register-") as name:
        folder = Path(name)
        if shutil.disk_usage(folder).free < NEEDED_BYTES:
            sys.exit(f"{folder} has less than {format_bytes(NEEDED_BYTES)} free: set TMPDIR")
        artifact = _artifact(folder)
        with running_ollama(binary, folder / "ollama") as endpoint:
            print(f"Ollama {endpoint.version}, {format_bytes(artifact.file_bytes)}, best of {runs}")
            ours = min(_registered(endpoint, artifact) for _ in range(runs))
            theirs = min(_created(binary, endpoint, artifact) for _ in range(runs))
            _push(folder, endpoint, runs)
    share = ours / theirs
    print(
        f"register: deployq {ours:.3f} s (limit {REGISTER_LIMIT_SECONDS} s), "
        f"ollama create {theirs:.2f} s: {share:.3f} of it (limit {REGISTER_LIMIT_SHARE:.2f})"
    )


def _artifact(folder: Path) -> Artifact:
    path = write_tiny_llama(
        folder / "big.gguf", n_embd=2048, n_ff=8192, n_layer=11, n_head=16, n_head_kv=8
    )
    path.chmod(0o444)
    return Artifact(
        path=path,
        quant="F16",
        key="0" * 64,
        digest=sha256_file(path),
        file_bytes=path.stat().st_size,
        backend="none",
        backend_version="0",
    )


def _registered(endpoint: Endpoint, artifact: Artifact) -> float:
    """Seconds that deployq's way takes."""
    with Server(endpoint.url) as server:
        started = time.perf_counter()
        placed = place_blob(server, endpoint.models_dir, artifact)
        with mtime_kept(artifact.path):
            server.create("big:f16", Modelfile("big.gguf"), {"big.gguf": artifact.digest})
        seconds = time.perf_counter() - started
    assert placed.how in ("hard-linked", "reflinked"), placed
    _forget(endpoint, artifact)
    return seconds


def _created(binary: Path, endpoint: Endpoint, artifact: Artifact) -> float:
    """Seconds that `ollama create` takes."""
    modelfile = artifact.path.parent / "Modelfile"
    modelfile.write_text(f"FROM {artifact.path}\n")
    env = {**os.environ, "OLLAMA_HOST": endpoint.url, "HOME": str(modelfile.parent)}
    command = [str(binary), "create", "big:f16", "-f", str(modelfile)]
    seconds = _timed(partial(subprocess.run, command, env=env, check=True, capture_output=True))
    _forget(endpoint, artifact)
    return seconds


def _forget(endpoint: Endpoint, artifact: Artifact) -> None:
    """Take the tag and its blobs off the server, those too that an old one leaves."""
    with Server(endpoint.url) as server:
        server.delete("big:f16")
    assert endpoint.models_dir is not None
    (endpoint.models_dir / "blobs" / f"sha256-{artifact.digest}").unlink(missing_ok=True)


def _push(folder: Path, endpoint: Endpoint, runs: int) -> None:
    (folder / "deployq.toml").write_text(CONFIG.format(url=endpoint.url))
    (folder / "suite.toml").write_text(SUITE)
    env = {**os.environ, "HOME": str(folder), "OLLAMA_MODELS": str(endpoint.models_dir)}
    deployq = str(Path(sys.executable).with_name("deployq"))
    command = [deployq, "-q", "push", "big", "--targets", "here", "--json"]
    help_ = ["sh", "-c", f"{deployq} --help > /dev/null"]

    def push() -> bytes:
        return subprocess.run(command, cwd=folder, env=env, check=True, capture_output=True).stdout

    report = json.loads(push())
    (tag,) = report["targets"][0]["tags"]
    for step in tag["steps"]:
        print(f"    {step['step']:9} {step['seconds']:7.3f} s  {step['detail']}")
    again = min(_timed(push) for _ in range(max(runs, 5)))
    bare = min(_timed(partial(subprocess.run, help_, check=True)) for _ in range(5))
    print(f"push again, nothing to do: {again:.3f} s (limit {REPUSH_LIMIT_SECONDS} s); ", end="")
    print(f"deployq --help: {bare:.3f} s")


def _timed(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
