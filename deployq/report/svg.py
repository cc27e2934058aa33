"""SVG made of small pieces: no style attribute, so that a page's policy can forbid them."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape

from markupsafe import Markup

from deployq.report.wording import plain


@dataclass
class Svg:
    """A picture of `width` x `height` pixels; its texts are texts, its title is read aloud."""

    width: float
    height: float
    title: str
    description: str = ""
    kind: str = ""
    parts: list[str] = field(default_factory=list)

    def text(self, x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> None:
        where = "" if anchor == "start" else f' text-anchor="{anchor}"'
        self.parts.append(
            f'<text{_class(kind)} x="{_n(x)}" y="{_n(y)}"{where}>{_content(text)}</text>'
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str = "") -> None:
        self.parts.append(
            f'<line{_class(kind)} x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}"/>'
        )

    def box(self, x: float, y: float, width: float, height: float, kind: str = "") -> None:
        self.parts.append(
            f'<rect{_class(kind)} x="{_n(x)}" y="{_n(y)}" width="{_n(max(width, 0))}" '
            f'height="{_n(height)}" rx="2"/>'
        )

    def dot(self, x: float, y: float, radius: float, kind: str = "") -> None:
        self.parts.append(f'<circle{_class(kind)} cx="{_n(x)}" cy="{_n(y)}" r="{_n(radius)}"/>')

    def path(self, points: list[tuple[float, float]], kind: str = "") -> None:
        drawn = "L".join(f"{_n(x)} {_n(y)}" for x, y in points)
        self.parts.append(f'<path{_class(kind)} d="M{drawn}"/>')

    def markup(self) -> Markup:
        said = f"<title>{_content(self.title)}</title>"
        if self.description:
            said += f"<desc>{_content(self.description)}</desc>"
        return Markup(  # noqa: S704  (texts are escaped, the rest are numbers and our own names)
            f'<svg{_class(self.kind)} viewBox="0 0 {_n(self.width)} {_n(self.height)}" '
            f'width="{_n(self.width)}" height="{_n(self.height)}" role="img">'
            f"{said}{''.join(self.parts)}</svg>"
        )


def _class(kind: str) -> str:
    return f' class="{escape(kind)}"' if kind else ""


def _content(text: str) -> str:
    return escape(plain(text), quote=False)


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
