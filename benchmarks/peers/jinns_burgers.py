"""jinns on Burgers, conditions built in, for so many seconds: python jinns_burgers.py SECONDS SEED POINTS.npy OUT.npy"""

import sys
import time

START = time.perf_counter()

import equinox as eqx
import jax
import jax.numpy as jnp
import jinns  # ty: ignore[import-not-found]
import numpy as np
import optax

jax.config.update("jax_enable_x64", True)
seconds, key = float(sys.argv[1]), jax.random.key(int(sys.argv[2]))
points = np.load(sys.argv[3])  # [N, (t, x)]
layers = ((eqx.nn.Linear, 2, 20), (jnp.tanh,), *((eqx.nn.Linear, 20, 20), (jnp.tanh,)) * 3, (eqx.nn.Linear, 20, 1))
u, network = jinns.nn.PINN_MLP.create(
    key=key,
    eqx_list=layers,
    eq_type="PDENonStatio",
    output_transform=lambda z, value, _: -jnp.sin(jnp.pi * z[1]) + z[0] * (1 - z[1] ** 2) * value,
)
params = jinns.parameters.Params(nn_params=network, eq_params={"nu": jnp.asarray(0.01 / jnp.pi)})
data = jinns.data.CubicMeshPDENonStatio(
    key=key,
    n=4000,
    nb=None,
    ni=100,
    dim=1,
    min_pts=(-1.0,),
    max_pts=(1.0,),
    tmin=0.0,
    tmax=1.0,
    domain_batch_size=4000,
    method="uniform",
)
weights = jinns.loss.LossWeightsPDENonStatio(dyn_loss=1.0)
loss = jinns.loss.LossPDENonStatio(u=u, dynamic_loss=jinns.loss.BurgersEquation(), params=params, loss_weights=weights)
adam, state = optax.adam(1e-3), None
while time.perf_counter() - START < seconds:
    out = jinns.solve(
        init_params=params,
        data=data,
        optimizer=adam,
        loss=loss,
        n_iter=500,
        opt_state=state,
        print_loss_every=10**9,
        verbose=False,
    )
    params, data, loss, state = out[0], out[3], out[4], out[5]
np.save(sys.argv[4], np.asarray(jax.vmap(lambda z: u(z, params))(jnp.asarray(points)))[:, 0])
