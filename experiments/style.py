"""How figures look, and how they are written."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, TypeVar

import matplotlib as mpl
from cycler import cycler
from matplotlib.figure import Figure

DataT = TypeVar("DataT")

# Okabe and Ito's colours, told apart by all common kinds of colour vision; yellow is left out.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLE: Any = {  # Any: matplotlib's stubs want each key's literal type
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.labelsize": 11,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 12,
    "figure.constrained_layout.use": True,
    "figure.dpi": 150,
    "figure.figsize": (6.4, 4.0),
    "font.size": 11,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "legend.fontsize": 10,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "pdf.fonttype": 42,
    "savefig.dpi": 150,
    "svg.hashsalt": "fenchel",
}


def pictures(draw: Callable[[DataT], Figure], data: DataT) -> dict[str, bytes]:
    """The PNG and the PDF of `draw(data)`, by suffix; no dates: same data, same bytes.

    Raises:
        TypeError: `draw` does not return a matplotlib figure.
    """
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    with mpl.rc_context({**STYLE, "axes.prop_cycle": cycler(color=COLOURS)}):
        figure = draw(data)
        if not isinstance(figure, Figure):
            raise TypeError(f"draw must return a matplotlib figure, got {figure!r}; return it")
        files = {}
        for suffix in ("png", "pdf"):
            content = io.BytesIO()
            dates = {"CreationDate": None} if suffix == "pdf" else {}
            figure.savefig(content, format=suffix, metadata=dates)
            files[suffix] = content.getvalue()
        plt.close(figure)
    return files
