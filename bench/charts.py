"""Draw a recorded run: `docs/pictures/performance.svg`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from bench import drawing
from bench.budgets import Figures

NAME = "performance.svg"
_MEMORY = {"RSS": "memory rss", "PSS": "memory pss", "anonymous": "memory anonymous"}
_APPLY_SIZES = (2, 100, 1_000, 4_000, 10_000)
_WIDTH = 0.4
_MILLI = 1000


def draw(runs: Mapping[str, Figures]) -> None:
    """Draw the figures of each agent, by its name; one that was not measured is left out.

    Raises:
        ImportError: the extra `bench` is not installed.
    """
    plt = drawing.pyplot()
    figure, ((memory, apply), (churn, resumed)) = plt.subplots(2, 2, figsize=(10, 7), layout="constrained")
    for number, (name, figures) in enumerate(runs.items()):
        _bars(memory, name, figures, (number - 0.5) * _WIDTH)
        sizes = {count: figures.get(f"apply {count}") for count in _APPLY_SIZES}
        _line(apply, name, {count: value * _MILLI for count, value in sizes.items() if value is not None}, marker="o")
        _line(churn, name, _series(figures, "churn rss"))
        _line(resumed, name, _series(figures, "resumed"))
    memory.set_xticks(range(len(_MEMORY)), _MEMORY)
    for axes, title in (
        (memory, "MB of all agent processes after 200 calls"),
        (apply, "ms until one member change serves, by members"),
        (churn, "MB of all HAProxy processes, by changes"),
        (resumed, "TLS sessions resumed, by changes"),
    ):
        axes.set_title(title)
        if axes is not apply:
            axes.set_ylim(bottom=0)
        if axes.get_legend_handles_labels()[0]:
            axes.legend()
    apply.set_xscale("log")
    apply.set_yscale("log")
    drawing.save(figure, NAME)


def _bars(axes: Any, name: str, figures: Figures, offset: float) -> None:  # noqa: ANN401 - untyped
    known = [(place + offset, figures[figure]) for place, figure in enumerate(_MEMORY.values()) if figure in figures]
    axes.bar([at for at, _ in known], [value for _, value in known], _WIDTH, label=name)


def _line(axes: Any, name: str, points: Mapping[int, float], **style: str) -> None:  # noqa: ANN401 - untyped
    axes.plot(list(points), list(points.values()), label=name, **style)


def _series(figures: Figures, name: str) -> dict[int, float]:
    """Return the values of `name after N` by N."""
    found = ((re.fullmatch(rf"{name} after (\d+)", figure), value) for figure, value in figures.items())
    return {int(match[1]): value for match, value in found if match}
