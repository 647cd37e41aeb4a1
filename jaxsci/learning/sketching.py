"""Sketches: random maps to few dimensions that nearly keep lengths, applied without forming them."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class Buckets(NamedTuple):
    """A count-sketch of rows: every row is added, with a random sign, to one random bucket.

    E[(S a).(S b)] = a.b, and 2-norms of a k-dimensional space are kept to a factor with O(k^2) buckets in theory, a few k in
    practice.

    Reference: Clarkson & Woodruff (2013), STOC, 81; Woodruff (2014), Found. Trends Theor. Comput. Sci. 10, 1.
    """

    bucket: Any  # [rows]
    sign: Any  # [rows]

    @staticmethod
    def draw(key: Any, rows: int, buckets: int, dtype: Any) -> Buckets:
        where, sign = jax.random.split(key)
        return Buckets(jax.random.randint(where, (rows,), 0, buckets), jax.random.rademacher(sign, (rows,), dtype))

    def apply(self, matrix: Float[Array, "rows columns"], buckets: int) -> Float[Array, "buckets columns"]:
        return jax.ops.segment_sum(self.sign[:, None] * matrix, self.bucket, buckets)


class Cosines(NamedTuple):
    """A subsampled randomised cosine transform of columns: W = D C' P, random signs, a DCT, and k of its outputs.

    W has orthonormal columns, and E[W W'] = k / columns: steps W z lie in a random subspace that no column is orthogonal to.

    Reference: Ailon & Chazelle (2009), SIAM J. Comput. 39, 302; Tropp (2011), Adv. Adapt. Data Anal. 3, 115.
    """

    sign: Any  # [columns]
    chosen: Any  # [k]

    @staticmethod
    def draw(key: Any, columns: int, k: int, dtype: Any) -> Cosines:
        choice, sign = jax.random.split(key)
        chosen = jax.random.choice(choice, columns, (k,), replace=False)
        return Cosines(jax.random.rademacher(sign, (columns,), dtype), chosen)

    def apply(self, matrix: Float[Array, "rows columns"]) -> Float[Array, "rows k"]:
        """J W."""
        return jax.scipy.fft.dct(matrix * self.sign, norm="ortho")[:, self.chosen]

    def expand(self, z: Float[Array, " k"]) -> Float[Array, " columns"]:
        """W z."""
        full = jnp.zeros(self.sign.shape, z.dtype).at[self.chosen].set(z)
        return self.sign * jax.scipy.fft.idct(full, norm="ortho")
