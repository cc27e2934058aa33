"""Puts a real Ollama into a folder: `python tests/install_ollama.py VERSION DEST`.

Builds it with Go from the module proxy, and links llama-server and llama-quantize, which Ollama
looks for at `<binary>/../lib/ollama`. Doing it again does nothing. The binary's path is the only
thing printed on stdout: `DEPLOYQ_TEST_OLLAMA=$(python tests/install_ollama.py 0.34.4 DEST)`.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

from deployq import DeployqError, ToolMissing, proc
from deployq.tools import require_tool

MODULE = "github.com/ollama/ollama"
BUILD_SECONDS = 900
TOOLS = ("llama-server", "llama-quantize")
GO_PLACES = ("/usr/local/go/bin/go", "/usr/lib/go/bin/go", "/opt/homebrew/bin/go")


def install(version: str, folder: Path) -> Path:
    """The binary of that version in `folder`, built if it isn't there.

    Raises:
        ToolMissing: no Go, or no llama.cpp tools.
        BackendError: the build failed.
    """
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise ToolMissing(f"{version!r} is no version of Ollama", hint="give one such as 0.34.4")
    folder = folder.absolute()
    binary = folder / "bin" / "ollama"
    if not binary.exists():
        _build(version, folder / "bin")
    (folder / "lib").mkdir(exist_ok=True)
    _link(folder / "lib" / "ollama", Path("..") / "bin")
    for name in TOOLS:
        _link(folder / "bin" / name, require_tool(name).path.resolve())
    return binary


def _build(version: str, folder: Path) -> None:
    go = shutil.which("go") or next((place for place in GO_PLACES if Path(place).exists()), None)
    if go is None:
        raise ToolMissing(
            "Go is not on this machine; a real Ollama is built with it",
            hint="install Go (https://go.dev/dl), or set DEPLOYQ_TEST_OLLAMA to an ollama binary",
        )
    _say(f"building Ollama {version}: about a minute")
    folder.mkdir(parents=True, exist_ok=True)
    stamp = f"-X {MODULE}/version.Version={version}"
    proc.run(
        [go, "install", "-ldflags", stamp, f"{MODULE}@v{version}"],
        env={"GOBIN": str(folder), "GOFLAGS": ""},
        on_line=_say,
        timeout_seconds=BUILD_SECONDS,
    )


def _link(link: Path, target: Path) -> None:
    if link.is_symlink() and link.readlink() == target:
        return
    link.unlink(missing_ok=True)
    link.symlink_to(target)


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def main() -> int:
    if len(sys.argv) != 3:
        _say("usage: python tests/install_ollama.py VERSION DEST")
        return 2
    try:
        binary = install(sys.argv[1], Path(sys.argv[2]).expanduser())
    except DeployqError as exc:
        _say(f"{exc.message}\n  {exc.hint}".rstrip())
        return exc.exit_code
    sys.stdout.write(f"{binary}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
