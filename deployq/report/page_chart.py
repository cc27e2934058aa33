"""Quality against size: a point per tag with its interval, and which sizes fit each target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from deployq.report.page_scales import Scale, size_scale, ticks
from deployq.report.svg import Svg
from deployq.report.wording import one_line
from deployq.types import Estimate, RunTag, RunTarget
from deployq.units import format_bytes

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_TOP, _LANE, _LETTER = 26, 22, 7.0
CAP = 4.0


@dataclass(frozen=True)
class Measure:
    """What a chart shows: a figure of a tag, how it is written, and the lines to hold it against.

    `limits` are values with a name, `line` the class of their lines; what is beyond `cap` is drawn
    at the edge.
    """

    key: str
    name: str
    title: str
    figure: Callable[[RunTag], Estimate | None]
    written: Callable[[float], str]
    better: str
    limits: tuple[tuple[float, str], ...] = ()
    cap: float | None = None
    line: str = "limit"


@dataclass(frozen=True)
class Point:
    """One tag on a chart."""

    tag: RunTag
    size: float
    estimate: Estimate


def chart(
    measure: Measure, tags: Sequence[RunTag], targets: Sequence[RunTarget], width: float
) -> Markup:
    """The chart of one measure, `width` pixels wide; "" where no tag has the figure."""
    power = _unit(tags)
    points = [
        Point(tag, tag.file_bytes / 1024**power, estimate)
        for tag in tags
        if tag.file_bytes and (estimate := measure.figure(tag)) is not None
    ]
    return _Chart(measure, points, targets, width, power).draw() if points else Markup("")


def _unit(tags: Sequence[RunTag]) -> int:
    most, power = max((tag.file_bytes for tag in tags), default=0), 0
    while most >= 1024 and power < len(_UNITS) - 1:
        most, power = most // 1024, power + 1
    return power


@dataclass
class _Chart:
    measure: Measure
    points: Sequence[Point]
    targets: Sequence[RunTarget]
    width: float
    power: int

    def __post_init__(self) -> None:
        narrow = self.width < 500
        self.left, self.right = (52.0 if narrow else 64.0), self.width - (10 if narrow else 20)
        self.bottom = _TOP + (190.0 if narrow else 250.0)
        lanes = len(self.targets) * _LANE
        height = self.bottom + 44 + (lanes + 26 if lanes else 0)
        sizes = [point.size for point in self.points]
        self.x = size_scale(sizes, self.left, self.right)
        self.y = self._y_scale()
        self.svg = Svg(self.width, height, self.measure.title, self._spoken(), "chart")
        self.taken: list[tuple[float, float, float, float]] = []  # middles and halves

    def draw(self) -> Markup:
        self._axes()
        self._lanes()
        ordered = sorted(self.points, key=lambda point: -point.size)
        for point in ordered:
            self._guard(point)
        self._limits()
        places = [(self.x(p.size), self.y(p.estimate.value)) for p in ordered if self._inside(p)]
        if len(places) > 1:
            self.svg.path(places, "way")
        for point in ordered:
            self._whisker(point)
        for point in ordered:
            self._dot(point)
        return self.svg.markup()

    # ------------------------------------------------------------ the frame

    def _y_scale(self) -> Scale:
        found = [e for p in self.points for e in _ends(p.estimate)]
        found += [value for value, _ in self.measure.limits]
        low, high = min(found), max(found)
        if self.measure.cap is not None:
            high = min(high, self.measure.cap)
        room = (high - low or abs(high) or 1.0) * 0.08
        top = (
            min(high + room, 1.0)
            if high <= 1.0 and self.measure.better == "higher"
            else (high + room)
        )
        return Scale(low - room, top, self.bottom, _TOP + 14)

    def _axes(self) -> None:
        svg, unit = self.svg, _UNITS[self.power]
        svg.text(self.left, 14, f"{self.measure.name} ({self.measure.better} is better)", "axis")
        for value in ticks(self.y, 6):
            at = self.y(value)
            svg.line(self.left, at, self.right, at, "grid")
            svg.text(self.left - 8, at + 4, self.measure.written(value), "tick", "end")
        svg.line(self.left, self.bottom, self.right, self.bottom, "base")
        for value in ticks(self.x, int((self.right - self.left) / 58)):
            at = self.x(value)
            svg.line(at, self.bottom, at, self.bottom + 4, "base")
            svg.text(at, self.bottom + 18, f"{value:g}", "tick", "middle")
        svg.text(self.right, self.bottom + 34, f"size of the file, {unit}", "axis", "end")

    def _lanes(self) -> None:
        """Below the axis, per target: the sizes that its memory has room for."""
        if not self.targets:
            return
        top = self.bottom + 44
        self.svg.text(self.left, top + 4, "sizes that fit", "axis")
        for number, target in enumerate(self.targets):
            self._lane(target, top + 14 + number * _LANE)

    def _lane(self, target: RunTarget, top: float) -> None:
        svg, room = self.svg, target.file_limit_bytes or 0
        limit = room / 1024**self.power
        end = self.x(limit) if limit > self.x.low else self.left
        svg.box(self.left, top, self.right - self.left, 14, "lane")
        svg.box(self.left, top, end - self.left, 14, "room")
        if self.x.has(limit):
            svg.line(end, _TOP + 14, end, top + 14, "budget")
        said = f"{one_line(target.name, 24)}: "
        said += f"up to {format_bytes(room)}" if room > 0 else "nothing fits"
        if limit > self.x.high:
            said += " →"
        svg.text(self.left + 6, top + 11, said, "lanename")

    def _limits(self) -> None:
        """What the figures are held to, each named at an end of its line where there is room."""
        for value, name in self.measure.limits:
            if not self.y.has(value):
                continue
            at, half = self.y(value), len(name) * _LETTER / 2
            self.svg.line(self.left, at, self.right, at, self.measure.line)
            places = [
                (x, at + down) for down in (-5, 14) for x in (self.right - half, self.left + half)
            ]
            middle, place = next((p for p in places if self._free(*p, half)), places[0])
            self.taken.append((middle, place - 4, half, 6))
            self.svg.text(middle, place, name, f"{self.measure.line}name", "middle")

    # ------------------------------------------------------------ the points

    def _inside(self, point: Point) -> bool:
        return self.y.has(point.estimate.value)

    def _whisker(self, point: Point) -> None:
        estimate, at = point.estimate, self.x(point.size)
        if estimate.low is None or estimate.high is None:
            return
        top, bottom = self.y(estimate.high), self.y(estimate.low)
        if estimate.low > self.y.high:
            return
        self.svg.line(at, top, at, bottom, "whisker")
        for end, shown in ((top, self.y.has(estimate.high)), (bottom, True)):
            if shown:
                self.svg.line(at - 4, end, at + 4, end, "whisker")

    def _guard(self, point: Point) -> None:
        """No label on a point, nor on its whisker."""
        at = self.x(point.size)
        ends = [self.y(end) for end in _ends(point.estimate)]
        middle, half = (max(ends) + min(ends)) / 2, (max(ends) - min(ends)) / 2
        self.taken.append((at, middle, 5, half))
        self.taken.append((at, self.y(point.estimate.value), 7, 5))

    def _dot(self, point: Point) -> None:
        at, height = self.x(point.size), self.y(point.estimate.value)
        name, kind = one_line(point.tag.quant, 20), point.tag.standing
        if not self._inside(point):
            above = _TOP + 14
            self.svg.path([(at - 5, above + 7), (at, above), (at + 5, above + 7)], f"away {kind}")
            name = f"{name} {self.measure.written(point.estimate.value)}"
            height = above
        elif kind == "bad":
            for turn in (1, -1):
                self.svg.line(at - 5, height - 5 * turn, at + 5, height + 5 * turn, "cross")
        else:
            self.svg.dot(at, height, 5, kind)
        self._label(point, at, height, name)

    def _label(self, point: Point, at: float, height: float, name: str) -> None:
        """Above a point and its whisker, below them, or beside; where nothing is written yet."""
        high, low = point.estimate.high, point.estimate.low
        away = not self._inside(point)
        top = height if high is None or away else min(height, self.y(high))
        bottom = height + 6 if low is None or away else max(height, self.y(low))
        half = len(name) * _LETTER / 2
        places = [(at, top - 9), (at, bottom + 18), (at - half - 10, height + 4)]
        places += [(at + half + 10, height + 4), (at, top - 23), (at, bottom + 31)]
        sides = (at - half - 10, at + half + 10)
        places += [(side, height + 4 + 13 * n) for n in range(1, 14) for side in sides]
        middle, place = next((p for p in places if self._free(*p, half)), places[0])
        middle = min(max(middle, self.left + half), self.right - half)
        self.taken.append((middle, place - 4, half, 6))
        self.svg.text(middle, place, name, f"name {point.tag.standing}", "middle")

    def _free(self, middle: float, place: float, half: float) -> bool:
        if not _TOP - 2 <= place <= self.bottom - 3:
            return False
        if middle - half < self.left - 4:
            return False
        return all(
            abs(middle - x) > half + across or abs(place - 4 - y) > 6 + down
            for x, y, across, down in self.taken
        )

    def _spoken(self) -> str:
        """The chart for whoever does not see it."""
        return "; ".join(
            f"{point.tag.quant}, {format_bytes(point.tag.file_bytes)}: "
            f"{with_interval(point.estimate, self.measure.written)}"
            for point in sorted(self.points, key=lambda p: -p.size)
        )


def with_interval(estimate: Estimate, written: Callable[[float], str]) -> str:
    """A figure in words: "95.8 % (94.1 % to 97.2 %)"."""
    value = written(estimate.value)
    if estimate.low is None or estimate.high is None:
        return value
    return f"{value} ({written(estimate.low)} to {written(estimate.high)})"


def _ends(estimate: Estimate) -> list[float]:
    ends = (estimate.value, estimate.low, estimate.high)
    return [end for end in ends if end is not None]


# ---------------------------------------------------------------- an interval in a table's cell


def whisker(estimate: Estimate, scale: Scale, kind: str, limit: float | None = None) -> Markup:
    """A figure and its interval on one line, 16 pixels high; the numbers stand beside it."""
    low = estimate.value if estimate.low is None else estimate.low
    high = estimate.value if estimate.high is None else estimate.high
    svg = Svg(scale.end + 6, 14, "", kind="spark")
    svg.line(scale.start, 7, scale.end, 7, "grid")
    if limit is not None and scale.has(limit):
        svg.line(scale(limit), 1, scale(limit), 13, "limit")
    svg.line(scale(low), 7, scale(high), 7, f"whisker {kind}")
    svg.dot(scale(estimate.value), 7, 3.5, kind)
    return svg.markup()
