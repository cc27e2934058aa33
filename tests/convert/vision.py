"""Gives the sample model eyes: `python vision.py SAMPLE OUT`. Run by the environment that converts.

Beside OUT it leaves `adapter`, a LoRA on it.

SmolVLM's kind of model (Idefics3): the sample's own weights write, an untrained tower sees.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
)

VISION = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "image_size": 64, "patch_size": 16,
}  # fmt: skip
IMAGES = {
    "image_processor_type": "Idefics3ImageProcessor", "image_mean": [0.5] * 3,
    "image_std": [0.5] * 3, "size": {"longest_edge": 64}, "do_image_splitting": False,
}  # fmt: skip


def main(sample: Path, out: Path) -> None:
    """Write the folder as a training of such a model would leave it."""
    base, tokenizer = (
        AutoModelForCausalLM.from_pretrained(sample),
        AutoTokenizer.from_pretrained(sample),
    )
    config = Idefics3Config(
        text_config=base.config.to_dict() | {"architectures": ["VLlama3ForCausalLM"]},
        vision_config=VISION,
        scale_factor=2,
        image_token_id=len(tokenizer) - 1,
        tie_word_embeddings=base.config.tie_word_embeddings,
    )
    torch.manual_seed(0)
    model = Idefics3ForConditionalGeneration(config)
    model.model.text_model.load_state_dict(base.model.state_dict())
    model.lm_head.load_state_dict(base.lm_head.state_dict())
    model.to(torch.float16).save_pretrained(out)
    tokenizer.save_pretrained(out)
    (out / "preprocessor_config.json").write_text(json.dumps(IMAGES))
    adapt(out)


def adapt(base: Path) -> None:
    """An adapter on it, in a folder beside it: random, and small enough to leave answers sure."""
    model = Idefics3ForConditionalGeneration.from_pretrained(base, dtype=torch.float32)
    made = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"]))
    for name, parameter in made.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, std=0.01)
    made.peft_config["default"].base_model_name_or_path = f"../{base.name}"
    made.save_pretrained(base.parent / "adapter")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
