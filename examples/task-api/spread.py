"""Gives the model the outlier channels that large models have, without changing what it says.

    python spread.py --model model --sigma 0.7

A tiny model trained on one narrow task hardly notices two-bit weights. In large models it is a few
channels of very different size that make low-bit quantization hurt: a block shares one scale, so
beside a large weight the small ones are rounded away. Here every channel between two matrices is
multiplied by a random factor on one side and divided by it on the other. In full precision the
answers stay the same; in few bits they get worse, as they do for large models.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from export import save_model
from transformers import LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaAttention, LlamaDecoderLayer


@torch.no_grad()
def spread_channels(model: LlamaForCausalLM, sigma: float, seed: int) -> None:
    """Rescale the channels before every matrix of every layer.

    Args:
        model: The model, changed in place.
        sigma: Standard deviation of the factors' logarithm; 0 changes nothing.
        seed: Seed of the factors.
    """
    generator = torch.Generator().manual_seed(seed)
    for layer in model.model.layers:
        spread_layer(layer, sigma, generator)


def spread_layer(layer: LlamaDecoderLayer, sigma: float, generator: torch.Generator) -> None:
    """Rescale norm against q, k, v; v against o; norm against gate, up; up against down."""
    attention, mlp = layer.self_attn, layer.mlp
    pairs = (
        (layer.input_layernorm.weight, (attention.q_proj, attention.k_proj, attention.v_proj)),
        (layer.post_attention_layernorm.weight, (mlp.gate_proj, mlp.up_proj)),
        (mlp.up_proj.weight, (mlp.down_proj,)),
    )
    for before, after in pairs:
        factors = torch.exp(sigma * torch.randn(len(before), generator=generator))
        before.mul_(factors if before.ndim == 1 else factors[:, None])
        for linear in after:
            linear.weight.div_(factors)
    spread_values(attention, sigma, generator)


def spread_values(attention: LlamaAttention, sigma: float, generator: torch.Generator) -> None:
    """Rescale the values against the output; heads of a group share their values."""
    values = attention.v_proj.weight
    factors = torch.exp(sigma * torch.randn(len(values), generator=generator))
    values.mul_(factors[:, None])
    head_factors = factors.view(-1, 1, attention.head_dim)
    attention.o_proj.weight.div_(
        head_factors.expand(-1, attention.num_key_value_groups, -1).flatten()
    )


def main() -> None:
    """Rescale a saved model in place."""
    parser = argparse.ArgumentParser(description="Give a model outlier channels.")
    parser.add_argument("--model", type=Path, default=Path(__file__).parent / "model")
    parser.add_argument("--sigma", type=float, default=0.7)
    parser.add_argument("--seed", type=int, default=5)
    args = parser.parse_args()
    model = LlamaForCausalLM.from_pretrained(args.model, dtype=torch.float32)
    spread_channels(model, args.sigma, args.seed)
    save_model(model, args.model)


if __name__ == "__main__":
    main()
