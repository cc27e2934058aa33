"""What a header doesn't say and llama.cpp knows of each architecture: windows, states, sharing.

From llama.cpp b11434: src/models/*.cpp (`load_arch_hparams`), src/llama-hparams.cpp and
`llama_model::create_memory` in src/llama-model.cpp. tests/plan holds the result against what
llama-fit-params says of published models.
"""

from __future__ import annotations

from typing import NamedTuple

from deployq.plan.figures import Figures


class Window(NamedTuple):
    """Sliding-window layers among those with full attention.

    Args:
        every: of so many layers one has full attention; 0: only a list in the header tells.
        full_first: the full one comes first, not last.
        default: tokens of the window where the header names none.
        fixed: tokens of the window whatever the header names.
    """

    every: int
    full_first: bool = False
    default: int = 0
    fixed: int = 0


WINDOWS = {
    "afmoe": Window(4),
    "cohere2": Window(4),
    "cohere2moe": Window(4, full_first=True),
    "exaone-moe": Window(4, default=128),
    "exaone4": Window(4, default=4096),
    "gemma2": Window(2, default=4096),
    "gemma3": Window(6),
    "gemma3n": Window(5),
    "gemma4": Window(0),
    "gpt-oss": Window(2),
    "granite_swa": Window(0),
    "laguna": Window(4, full_first=True),
    "llama4": Window(4, default=8192, fixed=8192),
    "maple": Window(0),
    "mellum": Window(4),
    "mimo2": Window(0),
    "muse-glimmer": Window(4),
    "olmo2": Window(4),
    "plamo3": Window(8),
    "smallthinker": Window(4, full_first=True, fixed=4096),
    "spark2_5": Window(0),
    "step35": Window(0),
}
"""All others have full attention in every layer, whatever window their header names: llama.cpp
keeps all cells for phi3, mistral and qwen2 too."""

_LAYERS_OF_EXAONE4_WITH_WINDOWS = 64

RECURRENT = frozenset({"mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"})
"""No attention at all: a state in every layer."""

HYBRID_BY_HEADS = frozenset(
    {"granitehybrid", "jamba", "kimi-k3", "kimi-linear", "lfm2", "lfm2moe", "plamo2",
     "bailingmoe3"}
)  # fmt: skip
"""A layer whose `head_count_kv` is 0 is recurrent, the others have attention."""

HYBRID_BY_INTERVAL = {"minimax-01": 8, "qwen35": 4, "qwen35moe": 4, "qwen3next": 4}
"""Of so many layers the last has attention, where the header has no list of its own."""

HYBRID_BY_FF = frozenset({"nemotron_h", "nemotron_h_moe"})
"""A layer is either attention, or a state, or feed-forward."""

ALL_OF_BOTH = frozenset({"falcon-h1"})
"""Attention and a state side by side in every layer."""

NO_CACHE = frozenset(
    {"bert", "clef", "dream", "eurobert", "gemma-embedding", "jina-bert-v2", "jina-bert-v3",
     "llada", "llada-moe", "modern-bert", "neo-bert", "nomic-bert", "nomic-bert-moe", "rnd1",
     "wavtokenizer-dec"}
)  # fmt: skip
"""Encoders and diffusion models: nothing is kept from token to token."""

LATENT = frozenset(
    {"bailingmoe3", "deepseek2", "deepseek32", "glm-dsa", "kimi-k3", "kimi-linear", "mistral4"}
)
"""Those that read the lengths of latent attention; elsewhere the keys mean nothing."""

INDEXED = frozenset({"deepseek32", "glm-dsa"})
"""Sparse attention: one more small key per cell, for the index."""

PLAIN = frozenset(
    {"apertus", "arcee", "arctic", "baichuan", "bailingmoe", "bailingmoe2", "bitnet", "bloom",
     "chameleon", "chatglm", "codeshell", "cogvlm", "command-r", "dbrx", "deci", "deepseek",
     "deepseek2-ocr", "dots1", "ernie4_5", "ernie4_5-moe", "exaone", "falcon", "gemma", "glm4",
     "glm4moe", "gpt2", "gptneox", "granite", "granitemoe", "grok", "grovemoe", "hrm_text",
     "hunyuan-dense", "hunyuan-moe", "hunyuan_vl", "hy_v3", "internlm2", "jais", "jais2",
     "llama", "llama-embed", "maincoder", "minicpm", "minicpm3", "minimax-m2", "mistral3", "mpt",
     "nanbeige", "nemotron", "olmo", "olmoe", "openelm", "orion", "paddleocr", "pangu-embedded",
     "phi2", "phi3", "phimoe", "plamo", "plm", "qwen", "qwen2", "qwen2moe", "qwen2vl", "qwen3",
     "qwen3moe", "qwen3vl", "qwen3vlmoe", "refact", "seed_oss", "smollm3", "stablelm",
     "starcoder", "starcoder2", "talkie", "xverse"}
)  # fmt: skip
"""Attention over all tokens in every layer, keys and values."""

DRAFTS = frozenset({"dflash", "eagle3", "gemma4-assistant"})
"""Small models that predict for a large one."""

KNOWN = (
    PLAIN | WINDOWS.keys() | RECURRENT | HYBRID_BY_HEADS | HYBRID_BY_INTERVAL.keys()
    | HYBRID_BY_FF | ALL_OF_BOTH | NO_CACHE | LATENT
) - {"glm-dsa"}  # fmt: skip
"""What is kept per token and layer follows llama.cpp's own rules. glm-dsa isn't in it: which of
its layers keep an index is a list inside llama.cpp."""


def unknown(figures: Figures) -> bool:
    """Whether the rules of an architecture are not known: every layer may keep everything."""
    return figures.architecture not in KNOWN | INDEXED


def window(figures: Figures, n: int) -> int:
    """Tokens that layer `n` looks back at; 0: all of them."""
    rule = WINDOWS.get(figures.architecture)
    if figures.architecture == "lfm2":  # all its attention layers, where the header names one
        return figures.number("attention.sliding_window")
    if rule is None or n >= figures.layers:
        return 0
    tokens = figures.number("attention.sliding_window", rule.default)
    if figures.architecture == "exaone4" and figures.layers != _LAYERS_OF_EXAONE4_WITH_WINDOWS:
        return 0
    return (rule.fixed or tokens) if tokens and _windowed(figures, rule, n) else 0


def _windowed(figures: Figures, rule: Window, n: int) -> bool:
    pattern = figures.array("attention.sliding_window_pattern")
    if pattern:
        return n < len(pattern) and bool(pattern[n])
    every = figures.number("attention.sliding_window_pattern", rule.every)
    if not every:
        return False
    return n % every != 0 if rule.full_first else n % every < every - 1


def recurrent(figures: Figures, n: int) -> bool:
    """Whether layer `n` keeps a state of fixed size."""
    name = figures.architecture
    if name in RECURRENT or name in ALL_OF_BOTH or unknown(figures):
        return n < figures.layers
    if name in HYBRID_BY_HEADS:
        return n < figures.layers and not figures.layer("attention.head_count_kv", n)
    if name in HYBRID_BY_FF:
        heads = figures.layer("attention.head_count_kv", n)
        return n < figures.layers and not heads and not figures.layer("feed_forward_length", n)
    if name in HYBRID_BY_INTERVAL:
        return n < figures.layers and _recurrent_by_interval(figures, n)
    return False


def _recurrent_by_interval(figures: Figures, n: int) -> bool:
    if marks := figures.array("attention.recurrent_layers"):
        return n < len(marks) and bool(marks[n])
    default = HYBRID_BY_INTERVAL[figures.architecture]
    return (n + 1) % max(1, figures.number("full_attention_interval", default)) != 0


def attends(figures: Figures, n: int) -> bool:
    """Whether layer `n` keeps keys (and values) of every token."""
    name = figures.architecture
    if unknown(figures):
        return True
    if name in RECURRENT or name in NO_CACHE or n >= sharing_from(figures):
        return False
    if name in ALL_OF_BOTH:
        return True
    if name in HYBRID_BY_FF and figures.layer("feed_forward_length", n):
        return False
    if n >= figures.layers:  # prediction layers are kept by these alone
        return name in HYBRID_BY_HEADS
    return not recurrent(figures, n)


def prediction_layers(figures: Figures) -> range:
    """Layers for predicting further tokens (MTP), which llama.cpp leaves in the file.

    Its loaders skip all tensors of layers behind the `n_layer()` that an answer goes through,
    unless drafting was asked for (b11434: `load_mtp`, `TENSOR_SKIP` in src/models/*.cpp); Ollama
    asks for it only where `draft_num_predict` is set. Models that are nothing but such layers
    are drafts of others, and loaded whole.
    """
    whole = figures.architecture in DRAFTS or not figures.layers
    return range(0) if whole else range(figures.layers, figures.blocks)


def sharing_from(figures: Figures) -> int:
    """The first layer that reads the cache of an earlier one instead of keeping its own."""
    if figures.architecture == "gemma3n":
        return 20
    if figures.architecture == "gemma4":
        return figures.blocks - figures.number("attention.shared_kv_layers")
    return figures.blocks


def repeats(figures: Figures) -> int:
    """How often the layers are gone through, each time with a cache of its own."""
    return max(1, figures.number("num_loops", 1)) if figures.architecture == "nanbeige" else 1
