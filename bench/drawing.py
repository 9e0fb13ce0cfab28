"""How all pictures of the documentation are drawn: the same fonts and grid, text that stays text, no date."""

from __future__ import annotations

from pathlib import Path
from typing import Any

PICTURES = Path(__file__).parent.parent / "docs" / "pictures"


def pyplot() -> Any:  # noqa: ANN401 - untyped
    """Return matplotlib's drawing module, set up.

    Raises:
        ImportError: the extra `bench` is not installed.
    """
    import matplotlib as mpl  # noqa: PLC0415 - in the extra `bench` alone

    mpl.use("svg")
    mpl.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "amphora", "font.size": 9, "axes.grid": True}
    from matplotlib import pyplot as plt  # noqa: PLC0415

    return plt


def save(figure: Any, name: str) -> None:  # noqa: ANN401 - untyped
    """Write a picture of the documentation."""
    PICTURES.mkdir(exist_ok=True)
    figure.savefig(PICTURES / name, metadata={"Date": None, "Creator": None})
