"""Which GGUF architecture a Hugging Face class becomes.

As llama.cpp's converter has it (b11434, conversion/*.py, `ModelBase.register`).
"""

from __future__ import annotations

# GGUF architecture -> the classes that become it, without "ForCausalLM".
_BECOMES = {
    "afmoe": "Afmoe", "apertus": "Apertus", "arcee": "Arcee", "arctic": "Arctic",
    "baichuan": "Baichuan BaiChuan", "bailingmoe": "BailingMoe",
    "bailingmoe2": "BailingMoeV2 SarvamMoE", "bitnet": "Bitnet BitNet", "bloom": "Bloom BloomModel",
    "chameleon": "Chameleon ChameleonForConditionalGeneration",
    "chatglm": "Glm ChatGLMModel ChatGLMForConditionalGeneration", "codeshell": "CodeShell",
    "cogvlm": "CogVLM", "cohere2": "Cohere2", "cohere2moe": "Cohere2Moe", "command-r": "Cohere",
    "dbrx": "Dbrx", "deci": "DeciLM", "deepseek": "Deepseek",
    "deepseek2": (
        "DeepseekV2 DeepseekV3 Glm4MoeLite KimiVLForConditionalGeneration "
        "KimiK25ForConditionalGeneration Youtu YoutuVLForConditionalGeneration"
    ),
    "deepseek32": "DeepseekV32", "dots1": "Dots1", "dream": "DreamModel",
    "ernie4_5": "Ernie4_5 Ernie4_5_", "ernie4_5-moe": "Ernie4_5_Moe", "exaone": "Exaone",
    "exaone-moe": "ExaoneMoE ExaoneMoe", "exaone4": "Exaone4 Exaone4_5_ForConditionalGeneration",
    "falcon": "Falcon RW", "falcon-h1": "FalconH1", "gemma": "Gemma", "gemma2": "Gemma2",
    "gemma3": "Gemma3 Gemma3ForConditionalGeneration",
    "gemma3n": "Gemma3n Gemma3nForConditionalGeneration",
    "gemma4": "Gemma4 Gemma4ForConditionalGeneration Gemma4UnifiedForConditionalGeneration",
    "glm-dsa": "GlmMoeDsa",
    "glm4": "Glm4 Glm4vForConditionalGeneration GlmOcrForConditionalGeneration",
    "glm4moe": "Glm4Moe SolarOpen Glm4vMoeForConditionalGeneration", "gpt-oss": "GptOss",
    "gpt2": "GPT2LMHeadModel", "gptneox": "GPTNeoX", "granite": "Granite",
    "granitehybrid": "GraniteMoeHybrid Bamba", "granitemoe": "GraniteMoe GraniteMoeShared",
    "grok": "Grok Grok1", "grovemoe": "GroveMoe", "hunyuan-dense": "HunYuanDenseV1",
    "hunyuan-moe": "HunYuanMoEV1", "hunyuan_vl": "HunYuanVLForConditionalGeneration",
    "internlm2": "InternLM2", "jais": "JAISLMHeadModel", "jais2": "Jais2", "jamba": "Jamba",
    "kimi-linear": "KimiLinear KimiLinearModel", "lfm2": "Lfm2 LFM2", "lfm2moe": "Lfm2Moe",
    "llada": "LLaDAModelLM",
    "llama": (
        "Llama Mistral Mixtral InternLM3 Vicuna LlavaForConditionalGeneration LLaMA "
        "VLlama3 VoxtralForConditionalGeneration IQuestCoder LlamaModel "
        "JanusForConditionalGeneration Sarashina2Vision UltravoxModel"
    ),
    "llama4": "Llama4 Llama4ForConditionalGeneration", "maincoder": "Maincoder",
    "mamba": "Mamba FalconMamba", "mamba2": "Mamba2", "mellum": "Mellum",
    "mimo2": "MiMoV2Flash MiMoV2", "minicpm": "MiniCPM", "minicpm3": "MiniCPM3",
    "minimax-01": "MiniMaxText01 MiniMaxM1", "minimax-m2": "MiniMaxM2",
    "minimax-m3": "MiniMaxM3Sparse MiniMaxM3SparseForConditionalGeneration",
    "mistral3": "Ministral3 Mistral3ForConditionalGeneration", "mpt": "MPT", "nemotron": "Nemotron",
    "nemotron_h": "NemotronH", "nemotron_h_moe": "NemotronHPuzzle", "olmo": "Olmo OLMo",
    "olmo2": "Olmo2 Olmo3", "olmoe": "Olmoe", "openelm": "OpenELM", "orion": "Orion",
    "pangu-embedded": "PanguEmbedded", "phi2": "Phi", "phi3": "Phi3 Phi4ForCausalLMV",
    "phimoe": "PhiMoE", "plamo": "Plamo", "plamo2": "Plamo2 PLaMo2", "plamo3": "Plamo3 PLaMo3",
    "plm": "PLM", "qwen": "QWenLMHeadModel",
    "qwen2": (
        "Qwen2 Qwen2Model Qwen2AudioForConditionalGeneration KORMo "
        "AudioFlamingo3ForConditionalGeneration DotsOCR"
    ),
    "qwen2moe": "Qwen2Moe",
    "qwen2vl": (
        "Qwen2VLForConditionalGeneration Qwen2_5_VLForConditionalGeneration "
        "Qwen2VLModel Qwen2_5OmniModel"
    ),
    "qwen3": "Qwen3 Qwen3Model StepVLForConditionalGeneration",
    "qwen35": "Qwen3_5 Qwen3_5ForConditionalGeneration MiniCPMV4_6ForConditionalGeneration",
    "qwen35moe": "Qwen3_5Moe Qwen3_5MoeForConditionalGeneration", "qwen3moe": "Qwen3Moe",
    "qwen3next": "Qwen3Next",
    "qwen3vl": "Qwen3VLForConditionalGeneration Qwen3ASRForConditionalGeneration",
    "qwen3vlmoe": "Qwen3VLMoeForConditionalGeneration Qwen3OmniMoeForConditionalGeneration",
    "rwkv6": "Rwkv6", "rwkv7": "Rwkv7 RWKV7", "seed_oss": "SeedOss", "smallthinker": "SmallThinker",
    "smollm3": "SmolLM3", "stablelm": "StableLm StableLMEpoch LlavaStableLMEpoch",
    "starcoder": "GPTBigCode", "starcoder2": "Starcoder2",
    "step35": "Step3p5 Step3p7ForConditionalGeneration", "xverse": "Xverse",
}  # fmt: skip

_WHOLE = ("Model", "ForConditionalGeneration", "LMV", "ModelLM")

ARCHITECTURES = {
    (name if name.endswith(_WHOLE) else f"{name}ForCausalLM"): architecture
    for architecture, names in _BECOMES.items()
    for name in names.split()
}

# Classes that decide what becomes of a model although its text part has a class of its own.
WHOLE_FIRST = frozenset(
    f"{name}ForConditionalGeneration" for name in ("StepVL", "Exaone4_5_", "Step3p7")
) | {"Sarashina2VisionForCausalLM"}
