"""Makes an environment with Unsloth: `python tests/install_unsloth.py DEST`.

It stands on the environment that converts (`deployq tools install convert`), which has PyTorch,
Transformers and PEFT in the very versions that Unsloth wants; nothing is installed twice. One
folder below DEST per set of versions; a finished one is left as it is. Its interpreter is the only
thing printed on stdout: `DEPLOYQ_TEST_UNSLOTH=$(python tests/install_unsloth.py DEST)`.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path

from filelock import FileLock

from deployq import DeployqError, ToolMissing, proc
from deployq.tools import convert_home, convert_python

UNSLOTH = ("unsloth==2026.10.9", "unsloth_zoo==2026.10.9")
"""Without their dependencies: with them, pip finds no set of versions."""

PACKAGES = ("gguf==0.19.0", "requests==2.34.2", "pluggy==1.6.0", "lazy-loader==0.6")
"""What Unsloth imports of them, and what `from deployq_unsloth import push` needs."""

DONE = "finished"
INSTALL_SECONDS = 900


def install(folder: Path) -> Path:
    """The interpreter of the environment in `folder`, made if it isn't there.

    Raises:
        ToolMissing: the environment that converts is not there.
        BackendError: pip failed.
    """
    base = convert_python()
    if base is None:
        raise ToolMissing(
            "Unsloth is installed over the environment that converts, which is not there",
            hint="deployq tools install convert",
        )
    key = hashlib.sha256(
        "\n".join((*UNSLOTH, *PACKAGES, str(convert_home()))).encode()
    ).hexdigest()[:12]
    home = folder.absolute() / f"unsloth-{key}"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f".{home.name}.lock"):
        if not (home / DONE).exists():
            shutil.rmtree(home, ignore_errors=True)
            _make(base, home)
            (home / DONE).touch()
    return home / "bin" / "python"


def _make(base: Path, home: Path) -> None:
    _say(f"installing {UNSLOTH[0]} in {home}: half a minute")
    proc.run([base, "-m", "venv", home], timeout_seconds=INSTALL_SECONDS)
    (own,) = home.glob("lib/python3*/site-packages")
    (below,) = base.parent.parent.glob("lib/python3*/site-packages")
    (own / "converter.pth").write_text(f"{below}\n")
    python = home / "bin" / "python"
    for packages in (("--no-deps", *UNSLOTH), PACKAGES):
        argv = [python, "-m", "pip", "install", "--quiet", *packages]
        proc.run(argv, timeout_seconds=INSTALL_SECONDS)


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def main() -> int:
    if len(sys.argv) != 2:
        _say("usage: python tests/install_unsloth.py DEST")
        return 2
    try:
        python = install(Path(sys.argv[1]).expanduser())
    except DeployqError as exc:
        _say(f"{exc.message}\n  {exc.hint}".rstrip())
        return exc.exit_code
    sys.stdout.write(f"{python}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
