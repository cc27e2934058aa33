"""What other libraries raise when a server can't be asked, and the errors of ours it stands for.

It needs all of them, so it is imported when something went wrong (`__init__.pyi`).
"""

from __future__ import annotations

import re
import signal
import ssl

import httpcore
import httpx
import ollama
import requests
import urllib3

from deployq import proc
from deployq.addresses import is_local
from deployq.errors import (
    EngineCrashed,
    ServerError,
    ServerRefused,
    ServerTimeout,
    ServerUnreachable,
)
from deployq.smoke import names_amx
from deployq.tags.refusal import Refusal, words_of
from deployq.tags.transport import Timeouts

# All that the libraries raise, and what a client does on an answer of the wrong shape.
FOREIGN = (
    Refusal,
    ollama.ResponseError,
    ollama.RequestError,
    httpx.HTTPError,
    httpx.InvalidURL,
    httpx.StreamError,
    httpx.CookieConflict,
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.UnsupportedProtocol,
    httpcore.ConnectionNotAvailable,
    httpcore.ProxyError,
    urllib3.exceptions.HTTPError,
    OSError,  # with built-in ConnectionError and requests.RequestException
    ValueError,  # with json's and pydantic's
    TypeError,
    AttributeError,
    KeyError,
)
_NO_SERVER = (
    httpcore.ConnectError,
    httpcore.ConnectTimeout,
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.ProxyError,
    requests.ConnectionError,
)
_NO_ADDRESS = (
    httpx.UnsupportedProtocol,
    httpx.InvalidURL,
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
)
_TOO_LATE = (httpcore.TimeoutException, httpx.TimeoutException, requests.Timeout, TimeoutError)
_NONSENSE = (ValueError, TypeError, AttributeError, KeyError)
# Such as: llama-server process has terminated: signal: segmentation fault (core dumped)
_ENDED = re.compile(r"\bsignal: ([a-z ]*[a-z])(?: \(core dumped\))?")
AMX_CRASHES = (signal.SIGSEGV, signal.SIGILL)
"""How engines built for AMX end where a virtual machine names it and does not let it be used."""

_HINTS = {
    401: 'what stands before it wants another key: auth = "env:NAME" for the target or [runtime], '
    "where the variable NAME holds a token or USER:PASSWORD",
    403: "the server refuses this Host or Origin (see OLLAMA_HOST and OLLAMA_ORIGINS there), or "
    "what stands before it refuses this key, or lets nobody write",
    405: "what stands before the server lets nobody write: ask whoever runs it",
    404: "deployq list",
    500: "the server's own log says more",
}
# X509_V_ERR_...: <openssl/x509_vfy.h>
_CERTIFICATE_HINTS = {
    9: "is this machine's clock right?",
    10: "renew the certificate there; is this machine's clock right?",
    62: "ask it by a name that stands in its certificate",
    64: "ask it by a name that stands in its certificate, not by its IP address",
}
_WORDS = {
    "no space left": "its disk is full: make room there, for instance with deployq prune",
    "read-only file system": "its models lie on a read-only file system: see OLLAMA_MODELS there",
    "permission denied": "it may not write to its models' folder: see OLLAMA_MODELS there",
}


def translate(exc: Exception, url: str, what: str, limits: Timeouts) -> ServerError:
    """The error of ours that a foreign one stands for, with the server's own words.

    Args:
        exc: what was raised.
        url: the server's.
        what: what it was asked to do.
        limits: those that it was asked with.
    """
    if isinstance(exc, ollama.ResponseError):
        exc = Refusal(exc.error, exc.status_code if exc.status_code > 0 else None)
    if isinstance(exc, Refusal):
        status = exc.status
        words = words_of(exc.words) or f"HTTP {status}"
        if crash := _ENDED.search(words):
            return _crashed(crash, words, url, what, status)
        hint = next((hint for said, hint in _WORDS.items() if said in words.lower()), "")
        hint = hint or _HINTS.get(status or 500, "")
        return ServerRefused(f"{url} refused to {what}: {words}", status=status, hint=hint)
    if isinstance(exc, _NO_ADDRESS):
        return ServerUnreachable(f"{url} is no address of a server: {exc}", hint="deployq config")
    if (tls := _tls_error(exc)) is not None:
        return _not_trusted(tls, url, what)
    if isinstance(exc, _NO_SERVER) or type(exc) is ConnectionError:
        return ServerUnreachable(
            f"no Ollama server answers at {url}, asked to {what}: {_why_none(exc, limits)}",
            hint="start one with `ollama serve`, or see `deployq doctor`",
        )
    if isinstance(exc, _TOO_LATE):
        return ServerTimeout(
            f"{url}, asked to {what}, did not answer within {limits['read']:g} s",
            hint="does it still work? `ollama ps` there shows it; restart it if it hangs",
        )
    if isinstance(exc, _NONSENSE) and not isinstance(exc, OSError):
        return ServerError(
            f"{url}, asked to {what}, gave an answer that makes no sense: {_cause(exc)}",
            hint="is that an Ollama server? deployq doctor",
        )
    return ServerError(
        f"{url} went away while asked to {what}: {_cause(exc)}",
        hint="start it again if it ended (its own log says why), then repeat the command",
    )


def _why_none(exc: Exception, limits: Timeouts) -> str:
    """Why there is no connection; one that nobody takes or refuses has no words of its own."""
    if isinstance(exc, httpcore.ConnectTimeout | httpx.ConnectTimeout | requests.ConnectTimeout):
        return f"no connection within {limits['connect']:g} s"
    return _cause(exc)


def _crashed(
    crash: re.Match[str], words: str, url: str, what: str, status: int | None
) -> EngineCrashed:
    """The engine's death, in the words of proc.describe_exit; Ollama tells it as Go does."""
    sign = next((one for one in proc.CRASHES if proc.signal_words(one) == crash[1]), None)
    loading = "terminated" in words or "could not load" in words
    how = f"crashed ({crash[1]})" if sign else f"was ended ({crash[1]})"
    how += " while loading" if loading else " while running"
    hint = "the server's own log says more"
    if crash[1] == "killed":
        hint = "a system does that which runs out of memory: a smaller quant or context"
    elif sign in AMX_CRASHES and (names_amx() or not is_local(url)):
        whose = "this processor names AMX" if is_local(url) else "if its processor names AMX"
        hint = (
            f"{whose}: set LLAMA_ARG_REPACK=0 in the environment of the Ollama server and restart "
            "it (docs/troubleshooting.md#amx)"
        )
    tag, log = what.rpartition(" ")[2], words[crash.end() :].lstrip(" ;:")
    return EngineCrashed(
        f"llama-server {how} {tag} at {url}" + (f"; {log}" if log else ""),
        how=how,
        status=status,
        hint=hint,
    )


def _tls_error(exc: BaseException | None) -> ssl.SSLError | None:
    """What TLS itself said, where that is at the root."""
    while exc is not None and not isinstance(exc, ssl.SSLError):
        exc = exc.__cause__ or exc.__context__
    return exc


def _not_trusted(tls: ssl.SSLError, url: str, what: str) -> ServerUnreachable:
    """A server that may be another than it says; nothing was sent there."""
    if not isinstance(tls, ssl.SSLCertVerificationError):
        return ServerUnreachable(
            f"no TLS can be spoken with {url}, asked to {what}: {_cause(tls)}",
            hint="does it speak https at that port? Else http://, through an ssh tunnel "
            "(docs/servers.md)",
        )
    hint = _CERTIFICATE_HINTS.get(
        tls.verify_code,
        'if its authority is one of your own: ca = "FILE.pem" for the target or [runtime] in '
        "deployq.toml, or SSL_CERT_FILE=FILE.pem",
    )
    return ServerUnreachable(
        f"{url} is not trusted, so it was not asked to {what}; its certificate: "
        f"{tls.verify_message}",
        hint=hint,
    )


def _cause(exc: BaseException) -> str:
    # The client hides what went wrong behind a text of its own.
    if type(exc) is ConnectionError and exc.__context__ is not None:
        exc = exc.__context__
    return words_of(str(exc)) or type(exc).__name__
