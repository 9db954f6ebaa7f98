"""Numbers drawn by their shares: what a search in the sums of the shares finds, and faster."""

from __future__ import annotations

import numpy as np

from canario_sim.streams import Floats, Ints

__all__ = ["Lookup"]

# Of ten million numbers four cells each would take more memory than all the rest.
_MOST_CELLS = 1 << 22


class Lookup:
    """Finds the number that a random part from 0 to 1 falls on, as a binary search would.

    The range is cut in equal cells (Chen and Asau 1974). Where one number fills a cell it is
    found at once, and only the others are searched for.
    """

    def __init__(self, shares: Floats, most_cells: int = _MOST_CELLS) -> None:
        self._upto = np.cumsum(shares)
        self._last = len(shares) - 1
        # A power of two, so that a part times it is exact and cut down to its own cell; four or
        # more for each number, where that is not too many, so that most are filled by one.
        self._cells = min(1 << (4 * len(shares) - 1).bit_length(), most_cells)
        edges = np.arange(self._cells + 1) / self._cells
        first = np.searchsorted(self._upto, edges, "right")
        self._first = first[:-1]
        self._filled = first[:-1] == first[1:]

    def find(self, parts: Floats) -> Ints:
        """The numbers of the shares that `parts` fall on."""
        cells = (parts * self._cells).astype(np.int64)
        found: Ints = self._first[cells]
        unclear = np.flatnonzero(~self._filled[cells])
        found[unclear] = np.searchsorted(self._upto, parts[unclear], "right")
        # The last sum may fall short of 1 by rounding.
        return np.minimum(found, self._last, out=found)
