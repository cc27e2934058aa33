"""deployq's own wheel and those of the example plugins, installed into a venv of their own.

Made once for all tests that use it, also where several processes run them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted(path.parent for path in (ROOT / "examples" / "plugins").glob("*/pyproject.toml"))
_PIP = ("-m", "pip", "--quiet", "--disable-pip-version-check")


@dataclass(frozen=True)
class Installed:
    """The venv, and the wheels that it was made of."""

    venv: Path
    wheels: Path

    @property
    def python(self) -> Path:
        return self.venv / "bin" / "python"

    @property
    def wheel(self) -> Path:
        """deployq's own."""
        (found,) = self.wheels.glob("deployq-*.whl")
        return found

    def deployq(
        self, folder: Path, *arguments: str, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as a user of the venv does, in a folder and a HOME of their own."""
        return self.run(folder, str(self.venv / "bin" / "deployq"), *arguments, **env)

    def run(self, folder: Path, *argv: str, **env: str) -> subprocess.CompletedProcess[str]:
        known = {"PATH": os.environ["PATH"], "HOME": str(folder / "home"), "PYTHONUTF8": "1"}
        return subprocess.run(
            argv, capture_output=True, text=True, cwd=folder, env=known | env, check=False
        )


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The venv with everything in it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "installed"
    found = Installed(folder / "venv", folder / "wheels")
    with FileLock(f"{folder}.lock"):
        if not (folder / "done").exists():
            shutil.rmtree(folder, ignore_errors=True)
            _build(found.wheels)
            _install(found)
            (folder / "done").touch()
    return found


def _build(wheels: Path) -> None:
    wheels.mkdir(parents=True)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(wheels)]
    subprocess.run([*build, str(ROOT)], check=True, capture_output=True, cwd=wheels)
    offline = ("--no-deps", "--no-build-isolation", "--no-index", "-w", str(wheels))
    examples = [str(example) for example in EXAMPLES]
    subprocess.run([sys.executable, *_PIP, "wheel", *offline, *examples], check=True)


def _install(found: Installed) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(found.venv)], check=True)
    others = [str(wheel) for wheel in found.wheels.glob("*.whl") if wheel != found.wheel]
    own = f"deployq[embedded] @ {found.wheel.as_uri()}"
    subprocess.run(
        [str(found.python), *_PIP, "install", "--no-compile", own, "pytest", *others], check=True
    )
