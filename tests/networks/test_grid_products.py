"""The products of fields with derivatives of their own; values and derivatives on one device are tested with the networks."""

import subprocess
import sys

import pytest

PROGRAM = """
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import PartitionSpec
from jaxsci.networks.correlation import correlate
from jaxsci.networks.grid_products import affine, left_product

jax.config.update("jax_enable_x64", True)
waves = np.random.default_rng(0).normal(size=(3, 6))
fields = jax.random.normal(jax.random.key(0), (4, 6, 2))
kernels = {name: jax.random.normal(jax.random.key(1), (2, 2)) for name in ("inner", "outer")}
kernels["near"] = jax.random.normal(jax.random.key(2), (3, 2, 2))


def loss(kernels, fields):
    near = lambda h: jnp.sin(correlate(h[None], kernels["near"])[0])
    one = lambda h: near(affine(left_product(waves, jnp.sin(affine(h, kernels["inner"])), (0,)), kernels["outer"]))
    return jnp.mean(jax.vmap(one)(fields) ** 2)


whole, parts = PartitionSpec(), PartitionSpec("batch")
mesh = jax.sharding.Mesh(np.array(jax.devices()), ("batch",))
mean = lambda *given: jax.lax.pmean(loss(*given), "batch")
spread = jax.shard_map(mean, mesh=mesh, in_specs=(whole, parts), out_specs=whole)
for over, alone in zip(*(jax.tree.leaves(jax.value_and_grad(f)(kernels, fields)) for f in (spread, loss))):
    np.testing.assert_allclose(over, alone, rtol=1e-12)
"""


@pytest.mark.slow
def test_a_gradient_in_what_devices_share_is_the_sum_over_them():
    more = "import os; os.environ['XLA_FLAGS'] = '--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0'\n"
    done = subprocess.run([sys.executable, "-c", more + PROGRAM], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
