"""The README's pictures, made from a real run: `make pictures` (Chromium is needed for the page).

A push of the sample model to two targets, in a folder and on a HOME of its own: what the terminal
shows, as SVG, and the run's page, as PNG. No path of this machine gets into either.
"""

from __future__ import annotations

import io
import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "pictures"
SAMPLE = ROOT / "examples" / "task-api"
COLUMNS = 92
COMMAND = ["-q", "push", "task-api", "--targets", "laptop,4090"]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CONFIG = """
[models.task-api]
source = "task-api-f16.gguf"
suite = "suite.toml"
system = "Answer with one JSON object."
parameters = { temperature = 0, num_ctx = 2048 }
[targets.laptop]
memory = "16GB"
kind = "ram"
quants = ["Q5_K_M", "Q4_K_M"]
[targets.4090]
preset = "4090"
goal = "max"
[runtime]
name = "embedded"
dir = ".deployq"
"""


def main() -> None:
    """Run the push, and write both pictures."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made).resolve()
        for name in ("task-api-f16.gguf", "suite.toml"):
            shutil.copy(SAMPLE / name, folder)
        (folder / "deployq.toml").write_text(CONFIG, encoding="utf-8")
        shown = on_terminal(folder).replace(f"{folder}/", "")
        (FOLDER / "push.svg").write_text(terminal_svg(shown), encoding="utf-8")
        (page,) = folder.glob(".deployq/runs/*/report.html")
        picture_of(page, FOLDER / "report.png", folder / "profile")
    print(f"wrote {FOLDER / 'push.svg'} and report.png", file=sys.stderr)  # noqa: T201


def on_terminal(folder: Path) -> str:
    """What deployq writes to a terminal of that width, with its colours."""
    ours, theirs = pty.openpty()
    env = {
        **{name: os.environ[name] for name in ("PATH", "DEPLOYQ_TOOLS_DIR") if name in os.environ},
        "HOME": str(folder / "home"), "COLUMNS": str(COLUMNS), "TERM": "xterm-256color",
        "LANG": "C.UTF-8", "COLORTERM": "truecolor",
    }  # fmt: skip
    child = subprocess.Popen(
        [sys.executable, "-m", "deployq", *COMMAND], cwd=folder, env=env, stdout=theirs
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            got = os.read(ours, 65536)
        except OSError:  # Linux says so when the other side is closed
            got = b""
        if not got:
            break
        shown += got
    if child.wait() != 0:
        sys.exit(f"the push failed with exit code {child.returncode}")
    return shown.decode().replace("\r\n", "\n")


def terminal_svg(shown: str) -> str:
    """The terminal as a drawing that asks for no font of another server."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text(f"$ deployq {' '.join(COMMAND)}", style="bold"))
    console.print(Text.from_ansi(shown.rstrip()))
    drawn = console.export_svg(title="deployq", unique_id="push")
    return re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL)


def picture_of(page: Path, file: Path, profile: Path) -> None:
    """The top of a page, as Chromium draws it."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        sys.exit("no Chromium here (Debian: apt install chromium)")
    subprocess.run(
        [
            browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            f"--user-data-dir={profile}", "--window-size=980,760", f"--screenshot={file}",
            page.as_uri(),
        ],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip


if __name__ == "__main__":
    main()
