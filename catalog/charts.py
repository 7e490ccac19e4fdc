"""Draws the course of cost and price as lines of an SVG, without a script."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

WIDTH, HEIGHT = 640, 140


@dataclass(frozen=True, slots=True)
class Line:
    """One value over time: its name, its CSS class and its path."""

    name: str
    style: str
    path: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines on one scale, with the values and moments at its edges."""

    lines: tuple[Line, ...]
    low: Decimal
    high: Decimal
    begins: datetime
    ends: datetime
    width: int = WIDTH
    height: int = HEIGHT


Course = Sequence[tuple[datetime, Decimal]]


def draw(courses: Sequence[tuple[str, str, Course]]) -> Chart | None:
    """A chart of (name, style, course) with a step where a value changes; None with one moment."""
    moments = [at for _, _, course in courses for at, _ in course]
    values = [value for _, _, course in courses for _, value in course]
    if not moments or max(moments) == min(moments):
        return None
    low, high = min(values), max(values)
    chart = Chart((), low, high, min(moments), max(moments))
    lines = tuple(Line(name, style, _path(course, chart)) for name, style, course in courses)
    return Chart(lines, low, high, chart.begins, chart.ends)


def _path(course: Course, chart: Chart) -> str:
    parts: list[str] = []
    for at, value in course:
        x, y = _x(at, chart), _y(value, chart)
        parts.append(f"H{x}V{y}" if parts else f"M{x},{y}")
    return "".join(parts)


def _x(at: datetime, chart: Chart) -> int:
    span = (chart.ends - chart.begins) // timedelta(seconds=1) or 1
    return (at - chart.begins) // timedelta(seconds=1) * chart.width // span


def _y(value: Decimal, chart: Chart) -> int:
    if chart.high == chart.low:
        return chart.height // 2
    part = (chart.high - value) / (chart.high - chart.low) * chart.height
    return int(part.quantize(Decimal(1), ROUND_HALF_UP))
