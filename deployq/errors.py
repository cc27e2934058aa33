"""One tree of errors; each class owns its exit code.

    DeployqError                 1  failed for a reason that deployq names
    ├── ConfigError              2  usage or configuration
    │   ├── ModelfileError       2  a template that does not render, or does not survive Ollama
    │   └── SuiteError           2  a suite with a mistake
    ├── SourceError              1  the model that was given: no GGUF, cut, already quantized
    ├── ArtifactError            1  a finished file is not what it should be
    ├── DiskError                1  no room, or not ours to write
    ├── LockfileError            1  deployq.lock can't be used
    ├── PluginError              1  a plugin is broken, or two are at odds
    ├── DoesNotFit               3  nothing fits the target
    ├── VerificationFailed       4  the tag does not answer as it should
    ├── ServerError              5  the Ollama server
    │   ├── ServerUnreachable    5  nothing answers there
    │   ├── ServerRefused        5  it answered with an error
    │   │   └── EngineCrashed    5  the llama-server behind it died
    │   └── ServerTimeout        5  it took the request and did not answer
    └── BackendError             6  a quantizer failed
        ├── ModelRejected        6  llama.cpp read a model file and says what is wrong with it
        └── ToolMissing          6  a tool of llama.cpp that is not on this machine

A message names the object and the cause; `hint` is the next command to type.
"""

from __future__ import annotations


class DeployqError(Exception):
    """Base of everything that deployq raises on purpose.

    Args:
        message: what happened, to which object, and why.
        hint: the command or step that mends it; may be empty.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(DeployqError):
    """Wrong usage or configuration."""

    exit_code = 2


class ModelfileError(ConfigError):
    """A Modelfile that does not render, does not parse, or would not survive Ollama."""


class SuiteError(ConfigError):
    """A verification suite with a mistake."""


class SourceError(DeployqError):
    """The given model can't be used."""


class ArtifactError(DeployqError):
    """A built file is not what it should be."""


class DiskError(DeployqError):
    """No room on a file system, or no permission on it."""


class LockfileError(DeployqError):
    """deployq.lock can't be used."""


class PluginError(DeployqError):
    """A plugin is broken, or two are at odds."""


class DoesNotFit(DeployqError):
    """No candidate fits the target."""

    exit_code = 3


class VerificationFailed(DeployqError):
    """A tag does not answer as its suite demands."""

    exit_code = 4


class ServerError(DeployqError):
    """The Ollama server is not there, or said no."""

    exit_code = 5


class ServerUnreachable(ServerError):
    """Nothing answers at the server's address."""


class ServerRefused(ServerError):
    """The server answered with an error; `status` is the HTTP status, None inside a stream."""

    def __init__(self, message: str, *, status: int | None = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status


class EngineCrashed(ServerRefused):
    """The llama-server behind an Ollama server died.

    Args:
        how: "crashed (segmentation fault) while loading": what follows is a tag's name.
    """

    def __init__(
        self, message: str, *, how: str, status: int | None = None, hint: str = ""
    ) -> None:
        super().__init__(message, status=status, hint=hint)
        self.how = how


class ServerTimeout(ServerError):
    """The server took a request and did not answer in time."""


class BackendError(DeployqError):
    """A quantizer failed."""

    exit_code = 6


class ModelRejected(BackendError):
    """llama.cpp read a model file and says what is wrong with it: the file is at fault, no tool."""


class ToolMissing(BackendError):
    """A tool of llama.cpp is not on this machine."""
