"""Secrets out of the system's keyring; imported with the first that is asked for (`__init__.pyi`).

The library is an extra: pip install 'deployq[keyring]'.
"""

from __future__ import annotations

import keyring
import keyring.errors

from deployq.errors import ConfigError


def keyring_secret(service: str, user: str) -> str:
    """What the keyring holds; "" for nothing.

    Raises:
        ConfigError: the keyring can't be opened.
    """
    try:
        return keyring.get_password(service, user) or ""
    except keyring.errors.KeyringError as exc:
        why = " ".join(str(exc).split()) or type(exc).__name__
        raise ConfigError(
            f"the keyring can't be asked for {service}: {why}",
            hint='keyring diagnose, or auth = "env:NAME" where there is no keyring',
        ) from exc
