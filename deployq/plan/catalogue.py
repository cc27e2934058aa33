"""The catalogue of quants: what llama-quantize can make, how large, how good, and at what price.

Names and file-type ids are those of `llama-quantize --help` (b11434).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from deployq.errors import ConfigError
from deployq.ggml import TYPES
from deployq.records import dataclass
from deployq.types import Goal


@dataclass(frozen=True)
class Quant:
    """One quantization type.

    Args:
        name: llama-quantize's own, such as "Q4_K_M".
        ftype: the number that `general.file_type` gets.
        base: the tensor type that most weights get.
        bits_per_weight: of Llama-3-8B, no imatrix, by the rules of mixes.py; nominal elsewhere.
        ppl_increase: over F16 on Llama-3-8B, as `llama-quantize --help` gives it; None: unknown.
        kld: mean KL divergence to F16, Llama-3-8B, WikiText-2, no imatrix: the table in
            llama.cpp's tools/perplexity/README.md; None: unknown.
        needs_imatrix: llama-quantize refuses it without an importance matrix.
        rank: the higher the better its answers; the order of the catalogue.
    """

    name: str
    ftype: int
    base: str
    bits_per_weight: float
    ppl_increase: float | None
    kld: float | None
    needs_imatrix: bool
    rank: int

    @property
    def takes_imatrix(self) -> bool:
        """Whether an importance matrix changes its weights."""
        return self.name not in _WITHOUT_IMATRIX


# Best first. Between quants that have a measured KL divergence or perplexity, these decide; the
# others stand where their bits per weight and their family put them.
# name, ftype, base, bits per weight, perplexity increase, KL divergence, needs an imatrix
_BEST_FIRST: tuple[tuple[str, int, str, float, float | None, float | None, bool], ...] = (
    ("F32", 0, "F32", 32.00, None, None, False),
    ("F16", 1, "F16", 16.00, 0.0, 0.00055, False),
    ("BF16", 32, "BF16", 16.00, 0.0, None, False),
    ("Q8_0", 7, "Q8_0", 8.50, 0.0026, 0.0014, False),
    ("Q6_K", 18, "Q6_K", 6.56, 0.0217, 0.0055, False),
    ("Q5_K_M", 17, "Q5_K", 5.70, 0.0569, 0.0108, False),
    ("Q5_K_S", 16, "Q5_K", 5.57, 0.1049, None, False),
    ("Q5_1", 9, "Q5_1", 6.04, 0.1062, None, False),
    ("Q5_0", 8, "Q5_0", 5.57, 0.1316, None, False),
    ("Q4_K_M", 15, "Q4_K", 4.89, 0.1754, 0.0313, False),
    ("Q4_K_S", 14, "Q4_K", 4.67, 0.2689, 0.0431, False),
    ("IQ4_NL", 25, "IQ4_NL", 4.68, None, None, False),
    ("IQ4_XS", 30, "IQ4_XS", 4.46, None, None, False),
    ("MXFP4_MOE", 38, "MXFP4", 8.50, None, None, False),
    ("Q4_1", 3, "Q4_1", 5.10, 0.4511, None, False),
    ("Q4_0", 2, "Q4_0", 4.64, 0.4685, 0.0719, False),
    ("Q3_K_L", 13, "Q3_K", 4.30, 0.5562, None, False),
    ("Q3_K_M", 12, "Q3_K", 4.00, 0.6569, 0.1019, False),
    ("IQ3_M", 27, "IQ3_S", 3.76, None, None, False),
    ("IQ3_S", 26, "IQ3_S", 3.66, None, None, False),
    ("Q3_K_S", 11, "Q3_K", 3.64, 1.6321, 0.2282, False),
    ("IQ3_XS", 22, "IQ3_S", 3.50, None, None, True),
    ("IQ3_XXS", 23, "IQ3_XXS", 3.37, None, None, True),
    ("Q2_K", 10, "Q2_K", 3.16, 3.5199, 0.4451, False),
    ("Q2_K_S", 21, "Q2_K", 2.97, 3.1836, None, True),
    ("IQ2_M", 29, "IQ2_S", 2.93, None, None, True),
    ("IQ2_S", 28, "IQ2_XS", 2.74, None, None, True),
    ("IQ2_XS", 20, "IQ2_XS", 2.59, None, None, True),
    ("IQ2_XXS", 19, "IQ2_XXS", 2.38, None, None, True),
    ("Q2_0", 41, "Q2_0", 2.68, None, None, False),
    ("TQ2_0", 37, "TQ2_0", 2.52, None, None, False),
    ("IQ1_M", 31, "IQ1_M", 2.15, None, None, True),
    ("TQ1_0", 36, "TQ1_0", 2.19, None, None, False),
    ("IQ1_S", 24, "IQ1_S", 2.00, None, None, True),
    ("Q1_0", 40, "Q1_0", 1.48, None, None, False),
)

_WITHOUT_IMATRIX = frozenset(
    {"F32", "F16", "BF16", "Q8_0", "MXFP4_MOE", "TQ1_0", "TQ2_0", "Q1_0", "Q2_0"}
)

# Larger than F16 and no better, or for models that were trained for them.
_OWN_KIND = frozenset({"F32", "BF16", "MXFP4_MOE", "TQ1_0", "TQ2_0", "Q1_0", "Q2_0"})

CATALOGUE: Mapping[str, Quant] = {
    entry[0]: Quant(*entry, rank=len(_BEST_FIRST) - place)
    for place, entry in enumerate(_BEST_FIRST)
}

COMMON = (
    "F16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q4_K_M", "Q4_K_S",
    "Q3_K_L", "Q3_K_M", "Q3_K_S", "Q2_K",
)  # fmt: skip
"""The candidates where nobody named any: K-quants, which every runtime has and none of which
needs an importance matrix."""

NATIVE_QUANTS: Mapping[str, str] = {"MXFP4": "MXFP4_MOE"}
"""Tensor types that models are trained in -> the quant that keeps them."""

CEILINGS: Mapping[Goal, str] = {
    "balanced": "Q4_K_M",
    "quality": "Q6_K",
    "max": "Q8_0",
    "memory": "Q4_K_S",
    "research": "F16",
}
"""The best quant that each goal takes; what doesn't fit gives way to the next smaller."""

_ALIASES = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M", "MXFP4": "MXFP4_MOE"}


def parse_quant(text: str) -> str:
    """The catalogue's name for what someone typed, in any case.

    Raises:
        ConfigError: there is none; the hint has the nearest.
    """
    name = text.strip().upper()
    name = _ALIASES.get(name, name)
    if name in CATALOGUE:
        return name
    near = difflib.get_close_matches(name, CATALOGUE, n=1, cutoff=0.4)
    raise ConfigError(
        f"there is no quant {text.strip()!r}",
        hint=f"did you mean {near[0]}?" if near else f"known: {', '.join(COMMON)} and more",
    )


def parse_quants(text: str) -> tuple[str, ...]:
    """Quants of a list such as "F16,q8_0", each once, in the order given.

    Raises:
        ConfigError: a name is unknown, or none is there.
    """
    names = tuple(dict.fromkeys(parse_quant(part) for part in text.split(",") if part.strip()))
    if not names:
        raise ConfigError("no quant is named", hint="for example: --quants Q8_0,Q4_K_M")
    return names


def best_first(names: tuple[str, ...]) -> tuple[str, ...]:
    """Quants by falling quality."""
    return tuple(sorted(names, key=lambda name: -CATALOGUE[name].rank))


def common_of(dtype: str) -> tuple[str, ...]:
    """The common quants that a source of this tensor type can become, best first.

    A model that was trained in MXFP4 (gpt-oss) is as good as ever in MXFP4_MOE, which leaves its
    experts as they are; anything with more bits only takes more room.
    """
    own = (NATIVE_QUANTS[dtype],) if dtype in NATIVE_QUANTS else ()
    return (*own, *(name for name in COMMON if not exceeds(name, dtype)))


def worth_judging(dtype: str, *, has_imatrix: bool) -> tuple[str, ...]:
    """The quants that may be the smallest one that holds, best predicted first.

    Without an importance matrix those that need one are left out; ternary types are for models
    that were trained for them.
    """
    if dtype in NATIVE_QUANTS:
        return common_of(dtype)
    return tuple(
        name
        for name, quant in CATALOGUE.items()
        if name not in _OWN_KIND
        and not exceeds(name, dtype)
        and (has_imatrix or not quant.needs_imatrix)
    )


def exceeds(quant: str, dtype: str) -> bool:
    """Whether a quant is more precise than weights of the tensor type `dtype` are."""
    return TYPES[CATALOGUE[quant].base].bits > TYPES[dtype].bits
