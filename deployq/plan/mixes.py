"""Which type each tensor of a mix gets: our own statement of llama-quantize's rules.

A quant such as Q4_K_M is a mix: most tensors get its base type, some get more bits by their
role and layer. The rules followed are those of llama.cpp b11434, src/llama-quant.cpp
(`llama_tensor_get_type_impl`), with and without an importance matrix; tests/plan holds them
against what that program says.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import NamedTuple

from deployq.ggml import TYPES
from deployq.plan.catalogue import CATALOGUE

# The first part of a name that matches tells the role.
_ROLES = (
    ("attn_qkv.weight", "attn_v"), ("attn_kv_b.weight", "attn_v"), ("attn_v.weight", "attn_v"),
    ("attn_k.weight", "attn_k"), ("attn_q.weight", "attn_q"),
    ("attn_output.weight", "attn_output"), ("ffn_up", "ffn_up"), ("ffn_gate", "ffn_gate"),
    ("ffn_down", "ffn_down"),
)  # fmt: skip

_NEVER_BELOW_Q8 = {"glm5-next": ("attn_q_a", "attn_q_b", "nextn.eh_proj")}

_IQ12 = frozenset({"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M"})
_IQ2_LARGE = frozenset({"IQ2_S", "IQ2_M"})
_FEW_BITS_FOR_8_EXPERTS = frozenset(
    {"Q2_K", "IQ3_XS", "IQ3_XXS", "Q3_K_S", "Q3_K_M", "IQ4_NL", "Q4_K_S", "Q4_K_M", "IQ3_S",
     "IQ3_M", "IQ4_XS"}
)  # fmt: skip


class Model(NamedTuple):
    """What the rules ask of a model; `tied`: it has no output matrix of its own."""

    quant: str
    architecture: str
    n_layer: int
    n_expert: int
    n_gqa: int
    is_70b: bool
    tied: bool
    n_attn_v: int
    imatrix: bool = False

    @property
    def falcon(self) -> bool:
        return self.architecture == "falcon"

    @property
    def shares_kv(self) -> bool:
        """Four or more query heads share one key head: attn_v is small, bits are cheap there."""
        return self.n_gqa >= 4


class Place(NamedTuple):
    """Where a tensor stands: number `i` of `n` of its role, its row length, its matrices."""

    model: Model
    i: int
    n: int
    row: int
    depth: int

    @property
    def quant(self) -> str:
        return self.model.quant

    @property
    def base(self) -> str:
        """The type that most tensors of the quant get."""
        return CATALOGUE[self.quant].base

    @property
    def first_eighth(self) -> bool:
        return self.i < self.n // 8

    @property
    def more_bits(self) -> bool:
        """The first and last eighth of the layers, and every third one between."""
        eighth = self.n // 8
        return self.first_eighth or self.i >= 7 * self.n // 8 or (self.i - eighth) % 3 == 2


# What an importance matrix changes of ffn_down: the first eighth of the layers, the rest is plain.
_WITH_IMATRIX = {
    "Q4_0": "Q4_1", "Q5_0": "Q5_1", "IQ3_XXS": "IQ3_XXS", "IQ4_NL": "IQ4_NL", "IQ4_XS": "IQ4_XS",
}  # fmt: skip


_Rule = Callable[[Place], str]


def role_of(name: str, architecture: str) -> str:
    """What a tensor is for, by its name; attention's values and what holds them count as one."""
    if any(part in name for part in _NEVER_BELOW_Q8.get(architecture, ())):
        return "never_below_q8"
    if name == "output.weight":
        return "output"
    if name in ("token_embd.weight", "per_layer_token_embd.weight"):
        return "token_embd"
    return next((role for part, role in _ROLES if part in name), "other")


# ---------------------------------------------------------------- the rules, role by role


def _mxfp4(p: Place) -> str:
    return "MXFP4" if p.depth > 1 else "Q8_0"


def _mxfp4_rest(p: Place) -> str:
    """Whatever has several matrices counts as experts, but bailingmoe3's latent attention."""
    return "Q8_0" if p.model.architecture == "bailingmoe3" else _mxfp4(p)


def _output(p: Place) -> str:
    if p.quant == "MXFP4_MOE" or p.model.falcon or p.row % TYPES[p.base].block:
        return "Q8_0"
    if p.quant in _IQ12 or p.quant == "IQ3_XXS":
        return "Q5_K"
    return "Q8_0" if p.base == "Q8_0" else "Q6_K"


def _token_embd(p: Place) -> str:
    special = {
        **dict.fromkeys(("IQ2_XXS", "IQ2_XS", "IQ1_S", "IQ1_M"), "Q2_K"),
        **dict.fromkeys(("IQ2_S", "IQ2_M", "IQ3_XXS"), "IQ3_S"),
        **dict.fromkeys(("TQ1_0", "TQ2_0", "Q2_0"), "Q4_K"),
    }
    return special.get(p.quant, p.base)


def _attn_v(p: Place) -> str:
    if p.model.n_expert == 8:
        return "Q8_0"
    wanted = _attn_v_by_quant(p)
    return "Q5_K" if p.model.is_70b and wanted in ("Q3_K", "Q4_K") else wanted


def _attn_v_by_quant(p: Place) -> str:
    shared, base = p.model.shares_kv, p.base
    return {
        "Q2_K": "Q4_K" if shared else "Q3_K",
        "Q2_K_S": "Q4_K" if shared else base,
        "IQ3_XXS": "Q4_K" if shared else base if p.model.imatrix else "IQ3_S",
        "IQ3_XS": "Q4_K" if shared else base,
        "IQ3_S": "Q4_K" if shared else base,
        "IQ3_M": "Q4_K",
        "Q3_K_M": "Q5_K" if p.i < 2 else "Q4_K",
        "Q3_K_L": "Q5_K",
        "IQ4_NL": "Q5_K" if shared else base,
        "IQ4_XS": "Q5_K" if shared else base,
        "Q4_K_M": "Q6_K" if p.more_bits else base,
        "Q5_K_M": "Q6_K" if p.more_bits else base,
        "Q4_K_S": "Q5_K" if p.i < 4 else base,
    }.get(p.quant, base)


def _attn_k(p: Place) -> str:
    return "Q8_0" if p.model.n_expert == 8 else _attn_q(p)


def _attn_q(p: Place) -> str:
    return {"IQ3_XS": "IQ3_XXS", "IQ3_XXS": "IQ2_S"}.get(p.quant, p.base)


def _attn_output(p: Place) -> str:
    if p.model.falcon:
        return "Q4_K" if p.quant == "Q3_K_L" else p.base
    if p.model.n_expert == 8:
        return "Q5_K" if p.quant in _FEW_BITS_FOR_8_EXPERTS else p.base
    special = {"Q2_K": "Q3_K", "IQ3_XXS": "IQ3_S", "Q3_K_M": "Q4_K", "Q3_K_L": "Q5_K"}
    return {**special, "IQ3_M": "Q4_K"}.get(p.quant, p.base)


def _ffn_down(p: Place) -> str:
    base, first = p.base, p.first_eighth
    if p.model.falcon and p.quant in ("Q3_K_M", "Q3_K_L", "Q4_K_M", "Q4_K_S"):
        return _falcon_ffn_down(p)
    iq3_m = first or (p.model.n_expert == 8 and p.more_bits)
    if p.model.imatrix and p.quant in _WITH_IMATRIX:
        return _WITH_IMATRIX[p.quant] if first else base
    return {
        "Q2_K": "Q3_K",
        "Q2_K_S": "Q4_K" if first else base,
        "IQ3_XXS": "Q4_K" if first else "Q3_K",
        "Q3_K_M": "Q5_K" if p.i < p.n // 16 else "Q4_K",
        "IQ3_M": "Q4_K" if iq3_m else base,
        "Q3_K_L": "Q5_K",
        "Q4_K_M": "Q6_K" if p.more_bits else base,
        "Q5_K_M": "Q6_K" if p.more_bits else base,
        "IQ4_NL": "Q5_K" if first else base,
        "IQ4_XS": "Q5_K" if first else base,
        "Q4_K_S": "Q5_K" if first else base,
    }.get(p.quant, base)


def _falcon_ffn_down(p: Place) -> str:
    first, more = p.i < p.n // 16, p.more_bits
    return {
        "Q3_K_M": "Q5_K" if first else "Q4_K" if more else "Q3_K",
        "Q3_K_L": "Q4_K",
        "Q4_K_M": "Q6_K" if first else "Q5_K" if more else "Q4_K",
    }.get(p.quant, p.base)


def _ffn_up_or_gate(p: Place) -> str:
    middle = p.n // 8 <= p.i < 7 * p.n // 8
    return "IQ3_XXS" if p.quant == "IQ3_XS" and middle else p.base


def _low_attn_v(p: Place) -> str:
    if p.model.shares_kv or p.model.n_expert >= 4:
        return "Q4_K"
    return "IQ3_S" if p.quant in _IQ2_LARGE else "Q2_K"


def _low_attn_k(p: Place) -> str:
    return "Q4_K" if p.model.n_expert == 8 else p.base


def _low_attn_output(p: Place) -> str:
    if p.model.n_expert == 8:
        return "Q5_K"
    if p.quant in ("IQ1_S", "IQ1_M"):
        return "IQ2_XXS"
    return "IQ3_S" if p.quant in _IQ2_LARGE else p.base


def _low_ffn_down(p: Place) -> str:
    if not p.first_eighth:
        return p.base
    return "IQ3_S" if p.quant in _IQ2_LARGE else "Q2_K"


def _base(p: Place) -> str:
    return p.base


_RULES: Mapping[str, _Rule] = {
    "token_embd": _token_embd,
    "attn_v": _attn_v,
    "attn_k": _attn_k,
    "attn_q": _attn_q,
    "attn_output": _attn_output,
    "ffn_down": _ffn_down,
    "ffn_up": _ffn_up_or_gate,
    "ffn_gate": _ffn_up_or_gate,
    "rest": _base,
}
_LOW_RULES: Mapping[str, _Rule] = {
    "token_embd": _token_embd,
    "attn_v": _low_attn_v,
    "attn_k": _low_attn_k,
    "attn_output": _low_attn_output,
    "ffn_down": _low_ffn_down,
    "rest": _base,
}
_MXFP4_RULES: Mapping[str, _Rule] = {
    "ffn_up": _mxfp4,
    "ffn_gate": _mxfp4,
    "ffn_down": _mxfp4,
    "rest": _mxfp4_rest,
}


class Seat(NamedTuple):
    """What the rules ask of a tensor.

    `number` is how many of its role came before it in llama.cpp's order, `layer` its layer,
    `shape` as in the header.
    """

    role: str
    number: int
    layer: int
    shape: tuple[int, ...]


_ANYWHERE = frozenset({"attn_q", "attn_k", "attn_output", "other"})
"""Roles whose rules don't ask where among the layers a tensor is."""


def kind_of(seat: Seat, n: int) -> Hashable:
    """What tells a tensor that is one of `n` from others: those of one kind get one type."""
    if seat.role in _ANYWHERE:
        return seat.role, seat.shape
    return seat.role, seat.shape, _stretch(seat.number, n), _stretch(seat.layer, n)


def _stretch(i: int, n: int) -> Hashable:
    """All that the rules ask of number `i` of `n`."""
    eighth = n // 8
    return min(i, 4), i < n // 16, i < eighth, i >= 7 * n // 8, (i - eighth) % 3


def wanted_type(model: Model, seat: Seat) -> str:
    """The type that the mix wants for a tensor, whether or not its rows allow it."""
    row, depth = seat.shape[0], seat.shape[2] if len(seat.shape) > 2 else 1
    if seat.role == "never_below_q8":
        return "Q8_0"
    if seat.role == "output" or (seat.role == "token_embd" and model.tied):
        return _output(Place(model, 0, 0, row, depth))
    low = model.quant in _IQ12
    # with experts a layer has several tensors of one role, so the layer itself is counted
    by_layer = model.n_expert > 1 and seat.role.startswith("ffn") and not low
    rules = _MXFP4_RULES if model.quant == "MXFP4_MOE" else _LOW_RULES if low else _RULES
    rule = rules.get(seat.role, rules["rest"])
    n = model.n_attn_v if seat.role == "attn_v" else model.n_layer
    return rule(Place(model, seat.layer if by_layer else seat.number, n, row, depth))
