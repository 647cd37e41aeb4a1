"""Windows of time: how long they are."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Windows:
    """Windows of time, fitted one after another: each starts from the field of the one before, as a function.

    A window in which the optimisers end without reaching the tolerance is halved, unless that did not help before; after one
    that reached it the next is half as long again. A budget of time is shared among windows by their length.

    Args:
      tolerance: for the scaled residual of a window; it is left when it is reached.
      first: length of the first, as a fraction of the interval.
      shortest: no window is halved below this fraction.
    Raises:
      ValueError: not 0 < shortest <= first <= 1 and tolerance > 0.
    Reference: Krishnapriyan et al. (2021), *Characterizing possible failure modes in physics-informed neural networks*,
      NeurIPS, section 5.2 (time marching); Penwarden et al. (2023), J. Comput. Phys. 493, 112464.
    Example:
      >>> import jaxsci as js
      >>> scheme = js.learning.Scheme(windows=js.learning.Windows(tolerance=1e-5))
    """

    tolerance: float = 1e-4
    first: float = 0.25
    shortest: float = 1 / 64

    def __post_init__(self):
        if not (self.tolerance > 0 and 0 < self.shortest <= self.first <= 1):
            raise ValueError(
                "Windows: tolerance must be positive and 0 < shortest <= first <= 1, got "
                f"tolerance={self.tolerance!r}, shortest={self.shortest!r}, first={self.first!r}."
            )

    def shorter(self, length: float) -> float | None:
        """Half of a length, or None where that is too short."""
        return length / 2 if length / 2 >= self.shortest else None


@dataclasses.dataclass(frozen=True)
class EqualWindows:
    """So many windows of equal length; what `Scheme(windows=4)` means."""

    count: int
    tolerance: float = 0.0

    @property
    def first(self) -> float:
        return 1 / self.count

    def shorter(self, length: float) -> float | None:
        """They are as they are."""
        return None
