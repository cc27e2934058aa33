"""What the server says no with: a status and Ollama's own text."""

from __future__ import annotations


class ApiError(Exception):
    """Becomes `{"error": message}` with this HTTP status, or a last line of a stream."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def not_here(what: str) -> ApiError:
    """A part of Ollama that the embedded runtime does not have."""
    return ApiError(501, f"deployq's embedded runtime does not do this: {what}; use a real Ollama")
