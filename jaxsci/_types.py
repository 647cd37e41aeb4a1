"""Types that several folders share; shapes are in the names of the axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jaxtyping import ArrayLike, Float, PRNGKeyArray

Key = PRNGKeyArray  # a jax.random.key
SavedTimes = Float[ArrayLike, " times"] | Sequence[float] | None  # increasing; None takes the problem's own
Progress = Callable[[str], None] | None  # called with a line of text now and then
