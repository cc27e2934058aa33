"""Gates as the configuration states them, nearest table first: target, model, `[gate]`."""

from __future__ import annotations

import json
from collections.abc import Mapping

from deployq.config import Config
from deployq.digests import sha256_bytes
from deployq.errors import ConfigError
from deployq.proof.rules import Rules
from deployq.types import Json


def gate_rules(config: Config, model: str, target: str | None = None) -> Rules:
    """What the tags of a model are held to, on a target."""
    return Rules(**_said(config, model, target))  # type: ignore[arg-type]


def gate_asked(config: Config, model: str, target: str | None = None) -> bool:
    """Whether anything in the configuration asks for a gate."""
    return bool(_said(config, model, target))


def gate_digest(config: Config, model: str, target: str) -> str | None:
    """Hex sha256 of what a target's gate states; None where there is none."""
    said = _said(config, model, target)
    return sha256_bytes(json.dumps(said, sort_keys=True)) if said else None


def _said(config: Config, model: str, target: str | None) -> Mapping[str, Json]:
    """The keys of a gate that the configuration states.

    Raises:
        ConfigError: it would fail what it doesn't warn of.
    """
    found = dict(config.gate.said)
    if model in config.models:
        found |= config.models[model].gate.said
    if target is not None and target in config.targets:
        found |= config.targets[target].gate.said
    rules = Rules(**found)  # type: ignore[arg-type]
    if rules.perplexity_warn > rules.perplexity_fail:
        raise ConfigError(
            f"the gate of {model}{f' on {target}' if target else ''} warns of a perplexity that "
            f"rises by {rules.perplexity_warn:.0%}, but fails it from {rules.perplexity_fail:.0%}",
            hint="give [gate] a perplexity_fail above perplexity_warn",
        )
    return found
