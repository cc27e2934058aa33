"""The drawings of docs/concepts.md as SVG: `python -m docs.tools.drawings`.

They need no font, no script and no network, and stand on a light ground of their own. Figures come
from deployq's catalogue, or from the page that the drawing's text names.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path

from deployq.plan.catalogue import CATALOGUE

FOLDER = Path(__file__).resolve().parents[1] / "pictures"
INK, SOFT, LINE, GROUND = "#22303a", "#5c6b75", "#c9d3d9", "#fbfcfd"
TEAL, AMBER, RED, GREY = "#1f8a80", "#d99a2b", "#c0453b", "#e4eaee"
SHOWN = ("F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K")
ANSWER = ('{"', "action", '": "', "create", "_task", '", "', "title", '": "', "Rent", '"}')


def main() -> None:
    """Write all drawings."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in drawings().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


def drawings() -> dict[str, str]:
    """File name to SVG."""
    return {
        "quants.svg": svg(720, 250, "Bits per weight and loss of seven quants", _quants()),
        "k-quants.svg": svg(720, 300, "How a K-quant stores 256 weights", _k_quants()),
        "memory.svg": svg(720, 190, "What a model takes of a machine's memory", _memory()),
        "agreement.svg": svg(720, 200, "How agreement is measured", _agreement()),
        "transaction.svg": svg(720, 250, "A push as a transaction", _transaction()),
    }


def svg(width: int, height: int, title: str, parts: Iterator[str]) -> str:
    """A whole drawing; lengths are pixels."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" font-family="system-ui, sans-serif">'
    )
    ground = f'<rect width="{width}" height="{height}" rx="8" fill="{GROUND}"/>'
    return "\n".join([head, f"<title>{escape(title)}</title>", ground, *parts, "</svg>\n"])


def text(
    x: float, y: float, said: str, size: int = 13, fill: str = INK, anchor: str = "start"
) -> str:
    """A line of text on its baseline."""
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{fill}" text-anchor="{anchor}">'
        f"{escape(said)}</text>"
    )


def box(
    x: float, y: float, width: float, height: float, fill: str, said: str = "", ink: str = INK
) -> str:
    """A rectangle with a word in it."""
    drawn = (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="4" fill="{fill}"/>'
    )
    return drawn + (text(x + width / 2, y + height / 2 + 5, said, 13, ink, "middle"))


def arrow(x1: float, y1: float, x2: float, y2: float, colour: str = SOFT) -> str:
    """A straight arrow, level or upright."""
    size = 6
    if y1 == y2:
        tip = f"{x2:g},{y2:g} {x2 - size:g},{y2 - 4:g} {x2 - size:g},{y2 + 4:g}"
    else:
        tip = f"{x2:g},{y2:g} {x2 - 4:g},{y2 - size:g} {x2 + 4:g},{y2 - size:g}"
    line = f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{colour}"/>'
    return f'{line}<polygon points="{tip}" fill="{colour}"/>'


def _quants() -> Iterator[str]:
    yield text(20, 28, "Bits per weight", 15)
    yield text(700, 28, "loss: KL divergence to full precision", 13, SOFT, "end")
    for row, name in enumerate(SHOWN):
        quant, y = CATALOGUE[name], 44 + row * 27
        colour = TEAL if quant.bits_per_weight > 4 else AMBER if name != "Q2_K" else RED
        yield text(20, y + 15, name)
        yield box(90, y, quant.bits_per_weight * 27, 20, colour)
        yield text(98 + quant.bits_per_weight * 27, y + 15, f"{quant.bits_per_weight:.1f}", 12)
        loss = "the measure" if quant.kld is None or name == "F16" else f"{quant.kld:.4f}"
        yield text(700, y + 15, loss, 13, INK, "end")
    yield text(20, 242, "Llama-3-8B; loss: llama.cpp, tools/perplexity/README.md", 11, SOFT)


def _k_quants() -> Iterator[str]:
    yield text(20, 28, "Q4_K: 256 weights in 144 bytes, 4.5 bits each", 15)
    yield box(20, 44, 70, 40, AMBER, "2 x F16")
    yield box(94, 44, 120, 40, "#efd39a", "8 x (6 + 6) bits")
    for block in range(8):
        yield box(218 + block * 60, 44, 57, 40, TEAL, "32 x 4", "#ffffff")
    yield text(20, 104, "outer scale", 12, SOFT)
    yield text(94, 104, "scale and least of each 32", 12, SOFT)
    yield text(700, 104, "the weights: 16 steps between least and most", 12, SOFT, "end")
    yield text(20, 150, "Q4_K_M: not every matrix is worth the same", 15)
    rows = (
        ("half of the values (attn_v) and of ffn_down", "Q6_K", 6.56, AMBER),
        ("output", "Q6_K", 6.56, AMBER),
        ("all other matrices", "Q4_K", 4.5, TEAL),
        ("norms and biases: tiny, left as they are", "F32", 9, SOFT),
    )
    for row, (what, name, width, colour) in enumerate(rows):
        y = 164 + row * 28
        yield text(20, y + 15, what)
        yield box(330, y, width * 30, 20, colour, name, "#ffffff")
    yield text(20, 290, "Rows that 256 does not divide get another type.", 11, SOFT)


def _memory() -> Iterator[str]:
    scale = 660 / 8  # pixels per GiB
    parts = (("weights 3.8", 3.8, TEAL), ("KV 2.0", 2.0, AMBER), ("", 0.12, RED))
    yield text(20, 28, "A 7B model in Q4_K_M at a context of 4096, on a card with 8 GiB", 15)
    x = 20.0
    for said, size, colour in parts:
        yield box(x, 60, size * scale, 44, colour, said, "#ffffff")
        x += size * scale
    yield box(x, 60, (7.25 - 5.92) * scale, 44, GREY, "free 1.3")
    yield box(20 + 7.25 * scale, 60, 0.75 * scale, 44, LINE, "reserve")
    yield text(x - 4, 52, "compute buffer 0.1", 12, SOFT, "middle")
    yield arrow(20 + 3.8 * scale, 128, 20 + 5.8 * scale, 128, AMBER)
    yield text(
        20 + 3.8 * scale, 150, "grows with the context: 0.5 GiB for every 1024 tokens here", 12
    )
    yield text(20, 178, "GiB; Llama-2-7B, f16 cache: docs/guide.md", 11, SOFT)


def _agreement() -> Iterator[str]:
    yield text(20, 28, "Full precision answers; the quant is held against every token", 15)
    yield text(20, 72, "F16")
    yield text(20, 122, "Q4_K_M")
    for place, token in enumerate(ANSWER):
        x = 84 + place * 62
        differs = place == 8
        yield box(x, 52, 58, 32, GREY, token)
        yield box(x, 102, 58, 32, RED if differs else TEAL, "Pay" if differs else token, "#ffffff")
        if differs:
            yield text(x + 29, 152, "another", 12, RED, "middle")
        if place == 9:
            yield arrow(x + 29, 84, x + 29, 102)
    yield text(20, 176, "After a difference it goes on from the text of full precision,", 12)
    yield text(
        20, 192, "so every token counts: here 9 of 10 agree. So are probabilities.", 12, SOFT
    )


def _transaction() -> Iterator[str]:
    steps = (
        ("create", "deployq-staging/..."),
        ("verify", "your prompts"),
        ("keep the old", "deployq-history/..."),
        ("promote", "task-api:q4_k_m"),
    )
    yield text(20, 28, "A name changes last, and all names of a target together", 15)
    for place, (what, where) in enumerate(steps):
        x = 20 + place * 174
        yield box(x, 50, 150, 44, TEAL if place < 3 else AMBER, what, "#ffffff")
        yield text(x + 75, 112, where, 12, SOFT, "middle")
        if place < 3:
            yield arrow(x + 150, 72, x + 174, 72)
    yield arrow(269, 120, 269, 156, RED)
    yield box(150, 158, 240, 40, GREY, "wrong: staging goes, old stays")
    yield arrow(617, 120, 617, 156, RED)
    yield box(464, 158, 236, 40, GREY, "killed: the journal puts it back")
    yield text(
        20,
        232,
        "docs/reliability.md: each step, tested with SIGKILL",
        11,
        SOFT,
    )


if __name__ == "__main__":
    main()
