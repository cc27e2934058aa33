from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deployq import proc
from deployq.errors import BackendError, ToolMissing

PATIENCE_SECONDS = 20.0


def python(code: str) -> list[str]:
    return [sys.executable, "-u", "-c", code]


def alive(pid: int) -> bool:
    """Does the process run? A zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(what: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE_SECONDS
    while not what() and time.monotonic() < end:
        time.sleep(0.02)
    return what()


def test_lines_of_both_streams_come_as_they_are_printed() -> None:
    seen: list[str] = []
    code = "import sys; print('one'); print('two', file=sys.stderr); print('10%\\r20%\\rdone')"
    finished = proc.run(python(code), on_line=seen.append)
    assert seen == ["one", "two", "10%", "20%", "done"]
    assert finished.stdout.splitlines() == seen
    assert finished.returncode == 0


def test_bad_utf8_and_a_last_line_without_end() -> None:
    finished = proc.run(python("import sys; sys.stdout.buffer.write(b'\\xff\\n\\xc3\\xa9')"))
    assert finished.stdout == "\ufffd\né"


def test_stdin_is_closed() -> None:
    assert proc.run(python("print(repr(input('')))"), check=False).returncode == 1


def test_nothing_goes_through_a_shell() -> None:
    assert proc.run([*python("import sys; print(sys.argv[1])"), "$HOME; x"]).stdout == "$HOME; x"


def test_variables_are_laid_over_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OURS", "1")
    code = "import os; print(os.environ['OURS'], os.environ['THEIRS'])"
    assert proc.run(python(code), env={"THEIRS": "2"}).stdout == "1 2"


def test_failure_carries_the_last_words() -> None:
    code = "print(*range(100), sep='\\n'); raise SystemExit('disk on fire')"
    with pytest.raises(BackendError) as failed:
        proc.run(python(code))
    words = failed.value.message.splitlines()
    assert "failed (1)" in words[0]
    assert words[-1] == "disk on fire"
    assert len(words) == 1 + proc.TAIL_LINES


def test_a_silent_failure_is_named() -> None:
    with pytest.raises(BackendError, match="it printed nothing"):
        proc.run(python("raise SystemExit(3)"))


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGSEGV, r"crashed \(segmentation fault\)"),
        (signal.SIGILL, r"crashed \(illegal instruction\)"),
        (signal.SIGABRT, r"crashed \(aborted\)"),
        (signal.SIGKILL, r"was killed \(SIGKILL\), as a system does that runs out of memory"),
        (signal.SIGTERM, "was ended by SIGTERM"),
        (signal.SIGRTMIN + 3, "was ended by signal 37"),
    ],
)
def test_death_by_signal_is_told_in_words(number: int, words: str) -> None:
    with pytest.raises(BackendError, match=words):
        proc.run(python(f"import os; os.kill(os.getpid(), {int(number)})"))


def test_a_crash_behind_a_shell_is_one_too() -> None:
    with pytest.raises(BackendError, match=r"crashed \(segmentation fault\)"):
        proc.run(["/bin/sh", "-c", "sh -c 'kill -SEGV $$'; exit $?"])


def test_unchecked_failure_is_returned() -> None:
    assert proc.run(python("raise SystemExit(7)"), check=False).returncode == 7


def test_a_missing_program_is_tool_missing() -> None:
    with pytest.raises(ToolMissing, match="cannot run /nowhere/llama: No such file"):
        proc.run(["/nowhere/llama"])


def test_a_missing_working_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ToolMissing, match="gone"):
        proc.run(python(""), cwd=tmp_path / "gone")


def test_a_file_that_is_no_program(tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    tool.write_text("no program")
    tool.chmod(0o755)
    with pytest.raises(ToolMissing, match="Exec format error"):
        proc.run([tool])


def test_timeout_ends_the_child(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    code = f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    with pytest.raises(BackendError, match="did not end within 3 s"):
        proc.run(python(code), timeout_seconds=3)
    assert not alive(int(pid.read_text()))


def test_timeout_reaches_a_grandchild_that_holds_the_pipe() -> None:
    """The child has ended; what it left behind keeps our pipe open, and refuses SIGTERM."""
    left = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready');"
    left += "time.sleep(600)"
    code = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-uc', {left!r}]).pid)"
    lines: list[str] = []
    with pytest.raises(BackendError, match="did not end"):
        proc.run(python(code), on_line=lines.append, timeout_seconds=3)
    pid = next(int(line) for line in lines if line.isdigit())
    assert wait_until(lambda: not alive(pid))


def test_an_exception_in_on_line_ends_the_whole_group() -> None:
    child = "import time; time.sleep(600)"
    code = (
        f"import subprocess, sys, time; c = subprocess.Popen([sys.executable, '-c', {child!r}]);"
        "print(c.pid); time.sleep(600)"
    )
    seen: list[int] = []

    def interrupt(line: str) -> None:
        seen.append(int(line))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        proc.run(python(code), on_line=interrupt)
    assert wait_until(lambda: not alive(seen[0]))


def test_a_child_that_refuses_sigterm_is_killed() -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1);"
    child = proc.start(python(code + "time.sleep(600)"))
    assert child.stdout is not None
    assert child.stdout.readline() == b"1\n"
    proc.stop(child, grace_seconds=0.2)
    child.stdout.close()
    assert child.returncode == -signal.SIGKILL


def test_a_child_dies_with_a_killed_deployq(tmp_path: Path) -> None:
    """Nobody can clean up after `kill -9`: a talking child then dies of its broken pipe."""
    pid = tmp_path / "pid"
    talk = (
        f"import os, time\nopen({str(pid)!r}, 'w').write(str(os.getpid()))\n"
        "while True: print('tensor'); time.sleep(0.02)"
    )
    code = f"import sys; from deployq import proc; proc.run([sys.executable, '-uc', {talk!r}])"
    deployq = proc.start(python(code))
    assert wait_until(lambda: pid.is_file() and bool(pid.read_text()))
    os.kill(deployq.pid, signal.SIGKILL)
    deployq.wait()
    assert deployq.stdout is not None
    deployq.stdout.close()
    assert wait_until(lambda: not alive(int(pid.read_text())))
