"""DeepXDE's own Burgers example for so many seconds: python deepxde_burgers.py SECONDS SEED POINTS.npy OUT.npy"""

import os
import sys
import time

START = time.perf_counter()
os.environ.setdefault("DDE_BACKEND", "jax")

import deepxde as dde  # ty: ignore[import-not-found]
import numpy as np

seconds, seed = float(sys.argv[1]), int(sys.argv[2])
points = np.load(sys.argv[3])  # [N, (t, x)]
dde.config.set_default_float("float64")
dde.config.set_random_seed(seed)


def pde(x, y):
    """The residual of u_t + u u_x - 0.01/pi u_xx, written as the JAX backend wants it."""
    u, _ = y
    dy_x, _ = dde.grad.jacobian(y, x, i=0, j=0)
    dy_t, _ = dde.grad.jacobian(y, x, i=0, j=1)
    dy_xx, _ = dde.grad.hessian(y, x, i=0, j=0)
    return dy_t + u * dy_x - 0.01 / np.pi * dy_xx


geometry = dde.geometry.GeometryXTime(dde.geometry.Interval(-1, 1), dde.geometry.TimeDomain(0, 1))
wall = dde.icbc.DirichletBC(geometry, lambda x: np.zeros((len(x), 1)), lambda _, on_boundary: on_boundary)
start = dde.icbc.IC(geometry, lambda x: -np.sin(np.pi * x[:, 0:1]), lambda _, on_initial: on_initial)
data = dde.data.TimePDE(geometry, pde, [wall, start], num_domain=2540, num_boundary=80, num_initial=160)
model = dde.Model(data, dde.nn.FNN([2] + [20] * 3 + [1], "tanh", "Glorot normal"))
model.compile("adam", lr=1e-3)


class Deadline(dde.callbacks.Callback):
    """Stops the training at the wall time."""

    def on_epoch_end(self):
        self.model.stop_training = time.perf_counter() - START > seconds


model.train(iterations=10_000_000, display_every=10_000_000, callbacks=[Deadline()])
np.save(sys.argv[4], model.predict(points[:, ::-1])[:, 0])
