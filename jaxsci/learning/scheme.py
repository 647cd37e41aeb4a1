"""Where and how much the residual counts while a fit goes on, and in what order."""

from __future__ import annotations

import dataclasses

import jax

from jaxsci._checks import is_whole
from jaxsci.learning.curriculum import Curriculum
from jaxsci.learning.sampling import ResidualDensity, Sampling
from jaxsci.learning.weighting import Equal, Weighting
from jaxsci.learning.windows import Windows


@dataclasses.dataclass(frozen=True)
class Scheme:
    """Where and how much the residual counts while a fit goes on.

    Args:
      sampling: of the collocation points: `Even`, `ResidualDensity`, `Retain`.
      weighting: of the squares: one, or several of which each sees the weights of those before it, as
        ``(Causal(), GradientBalance())``.
      windows: of time, fitted one after another: a number of equal ones, or `Windows` that find their lengths.
      curriculum: easier values of coefficients to begin with.
      mesh: a `jax.sharding.Mesh` of one axis, over whose devices the points are spread; losses and gradients are those of
        all points.
    Raises:
      TypeError, ValueError: a part is none of its kind, or two that do not go together.
    Example:
      >>> import jaxsci as js
      >>> scheme = js.learning.Scheme(js.learning.Even(), weighting=js.learning.Causal())
    """

    sampling: Sampling = dataclasses.field(default_factory=ResidualDensity)
    weighting: Weighting | tuple[Weighting, ...] = dataclasses.field(default_factory=Equal)
    windows: int | Windows | None = None
    curriculum: Curriculum | None = None
    mesh: jax.sharding.Mesh | None = None

    def __post_init__(self):
        for weighting in self.weightings:
            if not callable(getattr(weighting, "weigh", None)):
                raise TypeError(
                    f"Scheme: weighting must be js.learning.Causal(), ... or a tuple of such, got {weighting!r}."
                )
        if not callable(getattr(self.sampling, "draw", None)):
            raise TypeError(
                f"Scheme: sampling must be js.learning.Even(), js.learning.Retain(), ..., got {self.sampling!r}."
            )
        if (
            self.windows is not None
            and not isinstance(self.windows, Windows)
            and not (is_whole(self.windows) and self.windows > 0)
        ):
            raise ValueError(
                f"Scheme: windows must be a positive whole number or js.learning.Windows(), got {self.windows!r}."
            )
        if self.windows is not None and self.curriculum is not None:
            raise ValueError(
                "Scheme: windows start from one another's field and cannot have a curriculum too; leave out one."
            )

    @property
    def weightings(self) -> tuple[Weighting, ...]:
        """In the order in which they are applied."""
        return self.weighting if isinstance(self.weighting, tuple) else (self.weighting,)
