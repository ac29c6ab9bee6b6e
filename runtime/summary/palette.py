"""The colours of cell types, which people with red-green blindness can tell apart, too.

One decision: a fixed list, the most frequent type first. The first six are of Okabe and Ito ("Color
Universal Design", 2008). Each further one is that of RGB in steps of 15 that lies farthest from all
before it, at its nearest: in CIELAB, as seen with full colour vision, protanopia and deuteranopia
(the matrices of Machado et al. 2009, doi:10.1109/TVCG.2009.113), with lightness 32 to 83 so that
white and dark paper both show it, and chroma under 68. A test computes the distances.
"""

from __future__ import annotations

COLOURS = (
    *("#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#961e1e", "#78e187"),
    *("#2d5a5a", "#5a87ff", "#004bb4", "#78e1b4", "#4be1f0", "#5aa55a", "#4b4b78", "#c34b2d"),
    *("#d2c35a", "#3c694b", "#69a5ff", "#0f8778"),
)
# What is no type: unsure, with an error, or one of too many types to be told apart. Of all greys it
# lies farthest from the colours, for everybody.
GREY = "#b4b4b4"


def colour(number: int) -> str:
    """The colour of a type, by its place among the types (0: the most frequent)."""
    return COLOURS[number] if 0 <= number < len(COLOURS) else GREY
