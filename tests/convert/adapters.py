"""Makes adapters of every kind with PEFT, has each merged, and holds it against PEFT unmerged.

    python adapters.py RUNNER JOBSIDE TOKENIZER OUT [NAME ...]

Runs in the converter's environment. The models are tiny and random, in float32, and nothing is
trained: an adapter's numbers are random too, so that whatever is lost shows. One JSON line a case:
what was said of it, or why it was refused, and how far the merged model, loaded again from its
folder, is from the model with the adapter on it.
"""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

WIDTH, LAYERS, TOKENS = 64, 2, 2048
ATTENTION = ["q_proj", "v_proj"]
MARK = "\x1e"
READ = torch.tensor([[1, 17, 300, 45, 1999, 2040, 2041, 7, 900, 12]])

CASES: dict[str, Callable[[Path], Any]] = {}
"""By name: what makes the folders `base` and `adapter`, and gives the model as it was trained."""


def case(make: Callable[[Path], Any]) -> Callable[[Path], Any]:
    CASES[make.__name__] = make
    return make


def small(**more: Any) -> dict[str, Any]:
    return {
        "vocab_size": TOKENS, "hidden_size": WIDTH, "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": LAYERS, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 512, "initializer_range": 0.15, "bos_token_id": 1,
        "eos_token_id": 2, "pad_token_id": 0, **more,
    }  # fmt: skip


def base(folder: Path, kind: str = "llama", **more: Any) -> Any:
    """A random model, saved; given back as it was saved."""
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(kind, **small(**more))
    model = transformers.AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder / "base")
    return model


def adapted(folder: Path, model: Any, **options: Any) -> Any:
    """An adapter with random numbers in all of its tensors, saved; the model with it on."""
    torch.manual_seed(1)
    known = {"target_modules": ATTENTION, "r": 4, "lora_alpha": 8, "task_type": "CAUSAL_LM"}
    made = get_peft_model(model, LoraConfig(**{**known, **options}))
    return saved(folder, made)


def saved(folder: Path, made: Any) -> Any:
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if parameter.requires_grad:
                size = 0.3 if ".lora_" in name and "magnitude" not in name else 0.05
                parameter.add_(torch.randn(parameter.shape) * size)
    made.save_pretrained(folder / "adapter")
    return made


def change_config(folder: Path, **values: Any) -> None:
    file = folder / "adapter" / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def change_names(folder: Path, change: Callable[[str], str | None]) -> None:
    file = folder / "adapter" / "adapter_model.safetensors"
    renamed = {change(name): tensor for name, tensor in load_file(file).items()}
    save_file({name: tensor for name, tensor in renamed.items() if name}, file, {"format": "pt"})


# ---------------------------------------------------------------- kinds of LoRA


@case
def plain(folder: Path) -> Any:
    return adapted(folder, base(folder))


@case
def rslora(folder: Path) -> Any:
    return adapted(folder, base(folder), use_rslora=True, target_modules="all-linear")


@case
def dora(folder: Path) -> Any:
    return adapted(folder, base(folder), use_dora=True, target_modules="all-linear")


@case
def ranks_by_pattern(folder: Path) -> Any:
    patterns = {"rank_pattern": {"v_proj": 2}, "alpha_pattern": {"layers.0.self_attn.q_proj": 32}}
    return adapted(folder, base(folder), **patterns)


@case
def pissa(folder: Path) -> Any:
    return adapted(folder, base(folder), init_lora_weights="pissa")


@case
def pissa_niter(folder: Path) -> Any:
    return adapted(folder, base(folder), init_lora_weights="pissa_niter_2")


@case
def olora(folder: Path) -> Any:
    return adapted(folder, base(folder), init_lora_weights="olora")


@case
def orthogonal(folder: Path) -> Any:
    return adapted(folder, base(folder), init_lora_weights="orthogonal")


@case
def eva(folder: Path) -> Any:
    return adapted(folder, base(folder), init_lora_weights="eva")


@case
def lora_bias(folder: Path) -> Any:
    """Qwen2's queries and values have a bias that takes it."""
    return adapted(folder, base(folder, "qwen2"), lora_bias=True)


@case
def lora_bias_without_a_place(folder: Path) -> Any:
    return adapted(folder, base(folder), lora_bias=True)


@case
def all_biases(folder: Path) -> Any:
    return adapted(folder, base(folder, "qwen2"), bias="all")


@case
def turned_matrices(folder: Path) -> Any:
    """GPT-2 keeps its matrices the other way around."""
    config = {"n_embd": WIDTH, "n_layer": LAYERS, "n_head": 4, "n_positions": 512}
    model = base(folder, "gpt2", **config)
    return adapted(folder, model, target_modules=["c_attn", "c_proj"], use_dora=True)


@case
def one_layer_only(folder: Path) -> Any:
    return adapted(folder, base(folder), layers_to_transform=[1])


@case
def activated(folder: Path) -> Any:
    return adapted(folder, base(folder), alora_invocation_tokens=[4, 500])


@case
def in_bfloat16(folder: Path) -> Any:
    model = base(folder).to(torch.bfloat16)
    model.save_pretrained(folder / "base")
    return adapted(folder, model.float())


@case
def pickled(folder: Path) -> Any:
    made = adapted(folder, base(folder))
    made.save_pretrained(folder / "adapter", safe_serialization=False)
    (folder / "adapter" / "adapter_model.safetensors").unlink()
    return made


# ---------------------------------------------------------------- embedding and head


@case
def tied_head(folder: Path) -> Any:
    model = base(folder, tie_word_embeddings=True)
    return adapted(folder, model, target_modules=[*ATTENTION, "lm_head"])


@case
def tied_embedding(folder: Path) -> Any:
    model = base(folder, tie_word_embeddings=True)
    return adapted(folder, model, target_modules=[*ATTENTION, "embed_tokens"])


@case
def tied_both(folder: Path) -> Any:
    model = base(folder, tie_word_embeddings=True)
    return adapted(folder, model, target_modules=[*ATTENTION, "embed_tokens", "lm_head"])


@case
def tied_embedding_whole(folder: Path) -> Any:
    return adapted(folder, base(folder, tie_word_embeddings=True), modules_to_save=["embed_tokens"])


@case
def tied_head_whole(folder: Path) -> Any:
    return adapted(folder, base(folder, tie_word_embeddings=True), modules_to_save=["lm_head"])


@case
def tied_both_whole(folder: Path) -> Any:
    model = base(folder, tie_word_embeddings=True)
    return adapted(folder, model, modules_to_save=["embed_tokens", "lm_head"])


@case
def tied_together(folder: Path) -> Any:
    """PEFT keeps them tied: one tensor, and one in the merged model."""
    model = base(folder, tie_word_embeddings=True)
    return adapted(folder, model, modules_to_save=["embed_tokens"], ensure_weight_tying=True)


@case
def tied_tokens(folder: Path) -> Any:
    model = base(folder, tie_word_embeddings=True)
    return adapted(folder, model, trainable_token_indices=[2040, 2041])


@case
def untied_both_whole(folder: Path) -> Any:
    return adapted(folder, base(folder), modules_to_save=["embed_tokens", "lm_head"])


@case
def gemma_embedding_alone(folder: Path) -> Any:
    model = base(folder, "gemma", head_dim=16)
    return adapted(folder, model, modules_to_save=["embed_tokens"])


@case
def gemma_together(folder: Path) -> Any:
    model = base(folder, "gemma", head_dim=16)
    return adapted(folder, model, modules_to_save=["embed_tokens"], ensure_weight_tying=True)


@case
def padding_cut(folder: Path) -> Any:
    model = base(folder, vocab_size=TOKENS + 64)
    model.resize_token_embeddings(TOKENS)
    return adapted(folder, model, modules_to_save=["embed_tokens", "lm_head"])


def with_tool_token(folder: Path) -> int:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder.parent / "tokenizer")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|tool|>", "<|call|>"]})
    tokenizer.save_pretrained(folder / "adapter")
    return len(tokenizer)


@case
def new_tokens_whole(folder: Path) -> Any:
    model, tokens = base(folder), with_tool_token(folder)
    model.resize_token_embeddings(tokens)
    return adapted(folder, model, modules_to_save=["embed_tokens", "lm_head"])


@case
def new_tokens_trained_alone(folder: Path) -> Any:
    """Only their rows are in the adapter; the base has none for them."""
    model, tokens = base(folder, tie_word_embeddings=True), with_tool_token(folder)
    model.resize_token_embeddings(tokens)
    return adapted(folder, model, trainable_token_indices=list(range(TOKENS, tokens)))


@case
def new_tokens_in_padding(folder: Path) -> Any:
    model = base(folder, vocab_size=TOKENS + 64, tie_word_embeddings=True)
    tokens = with_tool_token(folder)
    return adapted(folder, model, trainable_token_indices=list(range(TOKENS, tokens)))


@case
def new_tokens_untrained(folder: Path) -> Any:
    model, tokens = base(folder), with_tool_token(folder)
    made = adapted(folder, model, trainable_token_indices=[TOKENS - 1])
    assert tokens > TOKENS
    return made


# ---------------------------------------------------------------- experts and routers


def mixture(folder: Path, kind: str = "mixtral", **more: Any) -> Any:
    experts = {"num_local_experts": 4, "num_experts": 4, "num_experts_per_tok": 2}
    return base(folder, kind, head_dim=16, **experts, **more)


@case
def experts_mixtral(folder: Path) -> Any:
    names = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
    return adapted(folder, mixture(folder), target_parameters=names)


@case
def experts_qwen3(folder: Path) -> Any:
    names = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
    return adapted(
        folder, mixture(folder, "qwen3_moe", moe_intermediate_size=WIDTH), target_parameters=names
    )


@case
def experts_gpt_oss(folder: Path) -> Any:
    names = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
    return adapted(
        folder, mixture(folder, "gpt_oss", intermediate_size=WIDTH), target_parameters=names
    )


@case
def router(folder: Path) -> Any:
    return adapted(folder, mixture(folder), target_parameters=["mlp.gate.weight"])


EXPERT = {"w1": (2 * WIDTH, WIDTH), "w2": (WIDTH, 2 * WIDTH), "w3": (2 * WIDTH, WIDTH)}


@case
def experts_one_by_one(folder: Path) -> Any:
    """As PEFT on transformers 4 saved them: two matrices for each of an expert's, by hand."""
    model = mixture(folder)
    adapted(folder, model, lora_alpha=4).unload()  # a scale of one
    file = folder / "adapter" / "adapter_model.safetensors"
    tensors = {name: tensor for name, tensor in load_file(file).items() if "q_proj" not in name}
    state = model.state_dict()
    for name, b in [(name, b) for name, b in tensors.items() if ".lora_B." in name]:
        module = name.removeprefix("base_model.model.").removesuffix(".lora_B.weight")
        state[f"{module}.weight"] += b @ tensors[name.replace(".lora_B.", ".lora_A.")]
    for layer in range(LAYERS):
        joint, down = (
            state[f"model.layers.{layer}.mlp.experts.{part}_proj"] for part in ("gate_up", "down")
        )
        for expert in range(4):
            gate, up = joint[expert].chunk(2)
            for matrix, held in (("w1", gate), ("w2", down[expert]), ("w3", up)):
                rows, columns = EXPERT[matrix]
                a, b = torch.randn(4, columns) * 0.3, torch.randn(rows, 4) * 0.3
                held.add_(b @ a)
                at = f"base_model.model.model.layers.{layer}.block_sparse_moe.experts.{expert}"
                tensors |= {f"{at}.{matrix}.lora_A.weight": a, f"{at}.{matrix}.lora_B.weight": b}
    save_file(tensors, file, {"format": "pt"})
    change_config(folder, target_modules=["v_proj", *EXPERT])
    return model


# ---------------------------------------------------------------- models that see


TOWER = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
    "image_size": 28, "patch_size": 14,
}  # fmt: skip
MROPE = {"rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e4}}
QWEN_TOWER = {"depth": 2, "num_heads": 2, "patch_size": 14}
SEEING: dict[str, dict[str, Any]] = {
    "qwen2_vl": {
        "text_config": small(**MROPE),
        "vision_config": {**QWEN_TOWER, "embed_dim": 32, "hidden_size": WIDTH, "mlp_ratio": 2},
    },
    "qwen2_5_vl": {
        "text_config": small(**MROPE),
        "vision_config": {
            **QWEN_TOWER, "hidden_size": 32, "out_hidden_size": WIDTH, "intermediate_size": 64,
            "fullatt_block_indexes": [1],
        },
    },
    "qwen3_vl": {
        "text_config": small(head_dim=16, **MROPE),
        "vision_config": {
            **QWEN_TOWER, "hidden_size": 32, "out_hidden_size": WIDTH, "intermediate_size": 64,
            "deepstack_visual_indexes": [0], "num_position_embeddings": 16,
        },
    },
    "mistral3": {
        "text_config": small(model_type="mistral", head_dim=16),
        "vision_config": {"model_type": "pixtral", **TOWER},
        "tie_word_embeddings": False,
    },
    "smolvlm": {
        "text_config": small(model_type="llama", architectures=["VLlama3ForCausalLM"]),
        "vision_config": {**TOWER, "image_size": 64, "patch_size": 16},
        "scale_factor": 2,
    },
    "llava": {
        "text_config": small(model_type="llama"),
        "vision_config": {"model_type": "clip_vision_model", **TOWER},
    },
    "internvl": {
        "text_config": small(model_type="qwen2", architectures=["Qwen2ForCausalLM"]),
        "vision_config": {**TOWER, "image_size": [28, 28], "patch_size": [14, 14]},
        "tie_word_embeddings": False,
    },
    "gemma3": {
        "text_config": small(
            model_type="gemma3_text", head_dim=16, sliding_window=64,
            layer_types=["sliding_attention", "full_attention"],
        ),
        "vision_config": {"model_type": "siglip_vision_model", **TOWER},
        "mm_tokens_per_image": 4,
    },
}  # fmt: skip


def seeing(kind: str) -> Callable[[Path], Any]:
    def make(folder: Path) -> Any:
        torch.manual_seed(0)
        config = transformers.AutoConfig.for_model(kind, **SEEING[kind])
        model = transformers.AutoModelForImageTextToText.from_config(config)
        model.save_pretrained(folder / "base")
        (folder / "base" / "preprocessor_config.json").write_text("{}")
        return adapted(folder, model)

    return make


CASES.update({kind: seeing(kind) for kind in SEEING})


@case
def qwen2_5_vl_as_older_versions_named_it(folder: Path) -> Any:
    made = seeing("qwen2_5_vl")(folder)
    change_names(folder, lambda name: name.replace("model.language_model.", "model."))
    return made


@case
def llava_as_older_versions_named_it(folder: Path) -> Any:
    made = seeing("llava")(folder)
    text = ("model.language_model.", "language_model.model.")
    tower = ("model.vision_tower.", "vision_tower.vision_model.")
    change_names(folder, lambda name: name.replace(*text).replace(*tower))
    return made


@case
def gemma3_trained_as_a_text_model(folder: Path) -> Any:
    made = seeing("gemma3")(folder)
    text = ("model.language_model.", "model.")
    change_names(folder, lambda n: None if "vision" in n else n.replace(*text))
    for name, parameter in made.named_parameters():
        if "vision" in name and ".lora_" in name:
            parameter.data.zero_()
    return made


# ---------------------------------------------------------------- what is left out


@case
def targets_cut(folder: Path) -> Any:
    made = adapted(folder, base(folder))
    change_config(folder, target_modules=["q_proj"])
    return made


@case
def dora_off(folder: Path) -> Any:
    made = adapted(folder, base(folder), use_dora=True)
    change_config(folder, use_dora=False)
    return made


@case
def dora_on(folder: Path) -> Any:
    made = adapted(folder, base(folder))
    change_config(folder, use_dora=True)
    return made


@case
def another_prefix(folder: Path) -> Any:
    made = adapted(folder, base(folder))
    change_names(folder, lambda name: name.removeprefix("base_model.model."))
    return made


@case
def an_unknown_layer(folder: Path) -> Any:
    made = adapted(folder, base(folder))
    change_names(folder, lambda name: name.replace("layers.1.", "layers.7."))
    return made


@case
def a_half_lost(folder: Path) -> Any:
    made = adapted(folder, base(folder))
    change_names(folder, lambda name: None if "layers.1.self_attn.v_proj.lora_B" in name else name)
    return made


@case
def a_whole_module_lost(folder: Path) -> Any:
    made = adapted(folder, base(folder))
    change_config(folder, modules_to_save=["lm_head"])
    return made


@case
def another_rank(folder: Path) -> Any:
    made = adapted(folder, base(folder))
    change_config(folder, r=8)
    return made


# ---------------------------------------------------------------- merging


def merge_case(name: str, out: Path) -> dict[str, Any]:
    refusal, runner = import_module("jobside").Refused, import_module("runner.merge")
    folder = out / name
    for part in ("base", "adapter"):
        (folder / part).mkdir(parents=True)
    made = CASES[name](folder).eval()
    for file in (out / "tokenizer").iterdir():
        shutil.copyfile(file, folder / "base" / file.name)
    job = {part: str(folder / part) for part in ("base", "output")}
    events = io.StringIO()
    with torch.no_grad():
        wanted = made(input_ids=READ).logits
        try:
            with redirect_stdout(events):
                runner.merge({**job, "source": str(folder / "adapter"), "allow": []})
        except refusal as exc:
            return {"name": name, "refused": str(exc), "hint": exc.hint}
        kind = type(made.get_base_model() if isinstance(made, PeftModel) else made)
        merged = kind.from_pretrained(folder / "output", dtype=torch.float32).eval()
        given = merged(input_ids=READ).logits
    told = [json.loads(line[1:]) for line in events.getvalue().split("\n") if line[:1] == MARK]
    return {
        "name": name,
        "notes": [one["text"] for one in told if one["event"] == "note"],
        "off": float((given - wanted).abs().max() / wanted.abs().max()),
        "same": bool((given.argmax(-1) == wanted.argmax(-1)).all()),
        "rows": given.shape[-1],
        "tied": merged.get_output_embeddings().weight is merged.get_input_embeddings().weight,
        "files": sorted(file.name for file in (folder / "output").iterdir()),
    }


def main(runner: str, jobside: str, tokenizer: Path, out: Path, names: list[str]) -> None:
    """Merge the cases that are named, or all."""
    sys.path += [jobside, runner]
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    shutil.copytree(tokenizer, out / "tokenizer")
    for name in names or CASES:
        try:
            found = merge_case(name, out)
        except Exception as exc:  # noqa: BLE001  (a case that broke fails its own test)
            found = {"name": name, "broke": f"{type(exc).__name__}: {exc}"}
        sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]), sys.argv[5:])
