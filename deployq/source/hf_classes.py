"""Which GGUF architecture a Hugging Face class becomes.

As llama.cpp's converter has it (b11434, conversion/*.py, `ModelBase.register`).
"""

from __future__ import annotations

# GGUF architecture -> the classes that become it, without "ForCausalLM".
_BECOMES = {
    "afmoe": "Afmoe", "apertus": "Apertus", "arcee": "Arcee", "arctic": "Arctic",
    "baichuan": "Baichuan BaiChuan", "bailingmoe": "BailingMoe", "bailingmoe2": "BailingMoeV2",
    "bitnet": "Bitnet BitNet", "bloom": "Bloom", "chatglm": "Glm ChatGLMModel",
    "codeshell": "CodeShell", "command-r": "Cohere", "cohere2": "Cohere2", "dbrx": "Dbrx",
    "deci": "DeciLM", "deepseek": "Deepseek", "deepseek2": "DeepseekV2 DeepseekV3 Glm4MoeLite",
    "deepseek32": "DeepseekV32", "dots1": "Dots1", "ernie4_5": "Ernie4_5 Ernie4_5_",
    "ernie4_5-moe": "Ernie4_5_Moe", "exaone": "Exaone", "exaone4": "Exaone4",
    "exaone-moe": "ExaoneMoE ExaoneMoe", "falcon": "Falcon RW", "falcon-h1": "FalconH1",
    "gemma": "Gemma", "gemma2": "Gemma2", "gemma3": "Gemma3 Gemma3ForConditionalGeneration",
    "gemma3n": "Gemma3n Gemma3nForConditionalGeneration",
    "gemma4": "Gemma4 Gemma4ForConditionalGeneration", "glm4": "Glm4",
    "glm4moe": "Glm4Moe SolarOpen", "glm-dsa": "GlmMoeDsa", "gpt2": "GPT2LMHeadModel",
    "gpt-oss": "GptOss", "gptneox": "GPTNeoX", "granite": "Granite",
    "granitemoe": "GraniteMoe GraniteMoeShared", "granitehybrid": "GraniteMoeHybrid Bamba",
    "hunyuan-moe": "HunYuanMoEV1", "hunyuan-dense": "HunYuanDenseV1", "internlm2": "InternLM2",
    "jais": "JAISLMHeadModel", "jamba": "Jamba", "kimi-linear": "KimiLinear",
    "lfm2": "Lfm2 LFM2", "lfm2moe": "Lfm2Moe",
    "llama": "Llama Mistral Mixtral InternLM3 Vicuna LlavaForConditionalGeneration",
    "llama4": "Llama4 Llama4ForConditionalGeneration", "mamba": "Mamba FalconMamba",
    "mamba2": "Mamba2", "mellum": "Mellum", "mimo2": "MiMoV2Flash MiMoV2", "minicpm": "MiniCPM",
    "minicpm3": "MiniCPM3", "minimax-m2": "MiniMaxM2", "minimax-01": "MiniMaxText01",
    "mistral3": "Ministral3 Mistral3ForConditionalGeneration", "mpt": "MPT",
    "nemotron": "Nemotron", "nemotron_h": "NemotronH", "olmo": "Olmo", "olmo2": "Olmo2 Olmo3",
    "olmoe": "Olmoe", "openelm": "OpenELM", "orion": "Orion", "pangu-embedded": "PanguEmbedded",
    "phi2": "Phi", "phi3": "Phi3", "phimoe": "PhiMoE", "plamo": "Plamo", "plamo2": "Plamo2",
    "plamo3": "Plamo3", "plm": "PLM", "qwen": "QWenLMHeadModel", "qwen2": "Qwen2",
    "qwen2moe": "Qwen2Moe",
    "qwen2vl": "Qwen2VLForConditionalGeneration Qwen2_5_VLForConditionalGeneration",
    "qwen3": "Qwen3", "qwen3moe": "Qwen3Moe", "qwen3next": "Qwen3Next",
    "qwen3vl": "Qwen3VLForConditionalGeneration",
    "qwen3vlmoe": "Qwen3VLMoeForConditionalGeneration",
    "qwen35": "Qwen3_5 Qwen3_5ForConditionalGeneration",
    "qwen35moe": "Qwen3_5Moe Qwen3_5MoeForConditionalGeneration", "rwkv6": "Rwkv6",
    "rwkv7": "Rwkv7 RWKV7", "seed_oss": "SeedOss", "smallthinker": "SmallThinker",
    "smollm3": "SmolLM3", "stablelm": "StableLm StableLMEpoch", "starcoder": "GPTBigCode",
    "starcoder2": "Starcoder2", "step35": "Step3p5", "xverse": "Xverse",
}  # fmt: skip

_WHOLE = ("Model", "ForConditionalGeneration")

ARCHITECTURES = {
    (name if name.endswith(_WHOLE) else f"{name}ForCausalLM"): architecture
    for architecture, names in _BECOMES.items()
    for name in names.split()
}
