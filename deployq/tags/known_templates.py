"""Ollama's own Go templates, by what they hash to.

At create, Ollama stores one of them in place of a chat template that it takes for one it knows.
Computed from template/*.gotmpl of Ollama 0.34.4; the same files stand in 0.32.15.
"""

from __future__ import annotations

from deployq.digests import sha256_bytes

KNOWN_TEMPLATES = {
    "3d8766305b70e46ec57a4e70c46402fe677b2bbe0ba23af6caf8a6b534a92e42": "alfred",
    "34ed3812a77d23f667b4dc1f63c7564df4ac4d02ff88cfba658debb8ca2b8059": "alpaca",
    "e3b2721cec511e3a627ae0993753abbf5c72cdf4cfcdbc8f5c33ce15c4c4e04b": "chatml",
    "1c4b2e51cf108dc8cdc6b1dc3bd11e4f3b575e7a1a961117bdb1229790a06fb2": "chatqa",
    "144e31793e9ebbc833530d2e992d1fc4dcb5a221e137cc8038c4f863f89f494e": "codellama-70b-instruct",
    "cedc23829af01ffb7ac6cc9e79b07ac5f306bf37e11bddb93ec072dd4f8fc756": "command-r",
    "6811aaaa5e1885891240a89af4dbe54a8fcd5259e169e88161ab596a478d3a86": "falcon-instruct",
    "4ea0df93422f8340a23cbb30feb814196a03aed2e1d97382b6529fad7c541f79": "gemma-instruct",
    "680a6206c5762f5a0915d25b2e5d85f8a1aecbc07a03a504bcbe21b5796b34ca": "gemma3-instruct",
    "d6bde791ae5d61abed6d7f3535a7d081589574c6389e36cdcc70eaf098bd83de": "granite-instruct",
    "3f74e056f96c687f67c49ed8309407e0612611e94b910464d8a3d9b60b46d7a6": "llama2-chat",
    "61dc7b1a77154f4015bbf548fb63b33550162cfd5d6cbf59b7e7843ece99a49e": "llama3-instruct",
    "25183b8f5dc6dfacfd7e6783b7b1cd12d8d42ce8a1f965051e61ffd1924294e5": "magicoder",
    "c502cd9313888317b670db1c6d5698783656a22ea75101651baa2c94d42397fb": "mistral-instruct",
    "e4ef0210ea1e3e5794d5cc22e95b85f97cfa0be15c3d18ad4b20e6915dcc2266": "openchat",
    "35360843d0c84fb1506952a131bbef13cd2bb4a541251f22535170c05b56e672": "phi-3",
    "2a9a67ad51b48060f9816867a0605cd1aa80b3a55c228d7596e180f762ea316d": "solar-instruct",
    "60851c266b6fdc5bc66b7993ba5e257e191569b02509514d6071ee10818472b9": "starcoder2-instruct",
    "afb92aa3328db00d21faf8504790d8413c904b349b86fae332954bbe9c5899ca": "vicuna",
    "a212eb1556b15dc9c63813c9b91dc4a569b8a5fb248fad55b5489b07b48f1a43": "zephyr",
}


def known_template(text: str) -> str:
    """The name of the template of Ollama's that this is; "" where it is none of them."""
    return KNOWN_TEMPLATES.get(sha256_bytes(text), "")
