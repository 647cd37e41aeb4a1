"""Errors of fields against numbers worked out by hand, on arrays for which the definitions give different ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsci.compare.field_errors import (
    boundary_rmse,
    conserved_rmse,
    mae,
    maximum_error,
    nrmse,
    rmse,
    scaled_l2,
    vrmse,
)

# Two samples, two channels, four points. Sample 0: y = (3 3 3 3 | 4 4 4 4), e = (0 | 5 5 5 5).
# Sample 1: y = (1 -1 1 -1 | 0.001 x (1 1 1 1)), e = (1 1 1 1 | 0.001 x (1 1 1 1)).
TRUTH = np.array([[[3.0] * 4, [4.0] * 4], [[1.0, -1, 1, -1], [0.001] * 4]])
ERROR = np.array([[[0.0] * 4, [5.0] * 4], [[1.0] * 4, [0.001] * 4]])
# In both samples of "apebench" |e| / |y| is 1: 5 / 5 and sqrt(1 + 1e-6) / sqrt(1 + 1e-6). By channel it is 0, 5/4, 1, 1.
SMALL = np.sqrt(1e-6 / (1e-6 + 1e-7))  # of the Well: eps counts where the field is 0.001
GOLDEN = {
    "apebench": [1.0, 1.0],
    "exponax": [1.25, 2.0],
    "pdebench": [[0.0, 1.25], [1.0, 1.0]],
    "well": [[0.0, 5 / np.sqrt(16 + 1e-7)], [1 / np.sqrt(1 + 1e-7), SMALL]],
}


@pytest.mark.parametrize("definition", GOLDEN)
def test_nrmse_by_each_definition(definition):
    each = nrmse(TRUTH + ERROR, TRUTH, space=1, definition=definition, average=False)
    np.testing.assert_allclose(each, GOLDEN[definition], rtol=1e-12)
    mean = nrmse(TRUTH + ERROR, TRUTH, space=1, definition=definition)
    assert float(mean) == pytest.approx(np.mean(GOLDEN[definition]), rel=1e-12)


def test_the_definitions_differ_on_these_arrays():
    values = [float(nrmse(TRUTH + ERROR, TRUTH, space=1, definition=d)) for d in GOLDEN]
    assert values == pytest.approx([1.0, 1.625, 0.8125, (1.25 + 1 + SMALL) / 4], abs=1e-6)
    assert len({round(v, 3) for v in values}) == 4


def test_nrmse_is_a_mean_of_ratios():
    truth = np.array([[[1.0, 1.0]], [[10.0, 10.0]]])
    error = np.array([[[1.0, 1.0]], [[0.0, 0.0]]])
    assert float(nrmse(truth + error, truth, space=1)) == 0.5  # the ratio of means would be 1 / 11


def test_nrmse_in_two_dimensions_with_saves_in_the_batch():
    random = np.random.default_rng(0)
    a, b = random.normal(size=(2, 3, 2, 2, 4, 5))
    norm = lambda x: np.linalg.norm(x.reshape(3, 2, -1), axis=-1)
    np.testing.assert_allclose(nrmse(a, b, space=2, average=False), norm(a - b) / norm(b), rtol=1e-12)


def test_vrmse_is_one_for_the_mean_and_differs_from_nrmse():
    truth = np.array([[[1.0, 3.0, 1.0, 3.0]]])  # mean 2, variance 1
    np.testing.assert_allclose(vrmse(np.full_like(truth, 2), truth, space=1), 1 / np.sqrt(1 + 1e-7), rtol=1e-12)
    error = np.array([[[2.0, 0, 0, 0]]])  # mean square 1, of y 5
    np.testing.assert_allclose(vrmse(truth + error, truth, space=1, eps=0.0), 1.0, rtol=1e-12)
    np.testing.assert_allclose(nrmse(truth + error, truth, space=1, definition="well", eps=0.0), 1 / np.sqrt(5), rtol=1e-12)
    assert float(vrmse(truth + error, truth, space=1, eps=3.0)) == pytest.approx(0.5)  # eps stands beside the variance


def test_vrmse_has_one_value_per_field():
    truth = np.array([[[1.0, 3.0], [0.0, 4.0]]])
    np.testing.assert_allclose(vrmse(truth + 1, truth, space=1, average=False, eps=0.0), [[1.0, 0.5]], rtol=1e-12)


def test_rmse_mae_and_maximum():
    error = np.array([[[3.0, 0, -4, 0]], [[0.0, 0, 0, 2]]])
    np.testing.assert_allclose(rmse(error, 0 * error, space=1, average=False), [[2.5], [1.0]])
    assert float(rmse(error, 0 * error, space=1)) == 1.75
    np.testing.assert_allclose(mae(error, 0 * error, space=1, average=False), [[1.75], [0.5]])
    assert float(maximum_error(error, 0 * error, space=1)) == 4.0
    assert float(maximum_error(error, 0 * error, space=1, average=True)) == 3.0


def test_scaled_l2_flattens_times_first():
    truth = np.array([[[[3.0]], [[4.0]]]])  # one sample, two times
    prediction = np.array([[[[3.0]], [[9.0]]]])
    assert float(scaled_l2(prediction, truth)) == 1.0
    assert float(nrmse(prediction, truth, space=1)) == 0.625  # the mean over times of 0 and 5/4


def test_conserved_rmse_is_a_root_over_samples():
    error = np.array([[[3.0, 3, 3, 3]], [[4.0, 4, 4, 4]], [[5.0, -5, 5, -5]]])  # means 3, 4 and 0
    assert float(conserved_rmse(error, 0 * error, space=1)) == pytest.approx(5 / np.sqrt(3))
    plane = np.stack([error] * 2, axis=-1)
    assert float(conserved_rmse(plane, 0 * plane, space=2)) == pytest.approx(5 / np.sqrt(3))
    channels = np.concatenate([error, 2 * error], axis=1)
    np.testing.assert_allclose(
        conserved_rmse(channels, 0 * channels, space=1, average=False), [5 / np.sqrt(3), 10 / np.sqrt(3)]
    )


def test_boundary_rmse_by_hand_in_one_two_and_three_dimensions():
    line = np.array([[1.0, 100, 100, 7]])
    assert float(boundary_rmse(line, 0 * line, space=1)) == pytest.approx(5.0)
    # 3 x 4: rows 0 and 2 (4 points each) and columns 0 and 3 (3 points each): 14 points, corners twice.
    plane = np.zeros((1, 3, 4))
    plane[0, 0, 0], plane[0, 1, 3], plane[0, 1, 1] = 2.0, 3.0, 99.0  # a corner, an edge, the inside
    assert float(boundary_rmse(plane, 0 * plane, space=2)) == pytest.approx(np.sqrt((2 * 4 + 9) / 14))
    cube = np.zeros((1, 3, 4, 5))
    cube[0, 1, 1, 0], cube[0, 1, 1, 2] = 2.0, 99.0
    assert float(boundary_rmse(cube, 0 * cube, space=3)) == pytest.approx(np.sqrt(4 / (2 * (20 + 15 + 12))))


METRICS = (nrmse, vrmse, rmse, mae, maximum_error, boundary_rmse)


@pytest.mark.parametrize("metric", METRICS)
def test_what_blew_up_is_infinitely_wrong_and_only_that(metric):
    prediction = TRUTH + ERROR
    for bad in (np.nan, np.inf, -np.inf):
        prediction[1, 0, 2] = bad
        assert float(metric(prediction, TRUTH, space=1)) == np.inf
    each = nrmse(prediction, TRUTH, space=1, average=False)
    np.testing.assert_allclose(each, [1.0, np.inf])
    assert np.isnan(
        float(metric(TRUTH, np.where(TRUTH == 4, np.nan, TRUTH), space=1))
    )  # a broken truth is not the prediction's


def test_a_truth_of_zero_is_infinite_unless_predicted():
    truth = np.zeros((2, 1, 4))
    prediction = truth.copy()
    prediction[1] = 1.0
    np.testing.assert_allclose(nrmse(prediction, truth, space=1, average=False), [0.0, np.inf])


@pytest.mark.parametrize("metric", [nrmse, *(pytest.param(m, marks=pytest.mark.slow) for m in METRICS[1:])])
def test_jit_vmap_grad_and_single_precision(metric):
    one = metric(TRUTH + ERROR, TRUTH, space=1)
    assert float(jax.jit(lambda a: metric(a, TRUTH, space=1))(TRUTH + ERROR)) == pytest.approx(float(one))
    assert jax.vmap(lambda a, b: metric(a, b, space=1))(TRUTH + ERROR, TRUTH).shape == (2,)
    slope = jax.grad(lambda a: metric(a, TRUTH, space=1))
    assert np.isfinite(slope(jnp.asarray(TRUTH + ERROR))).all()
    assert (np.asarray(slope(jnp.asarray(TRUTH))) == 0).all() or metric in (mae, maximum_error)  # at the minimum, not NaN
    single = metric(jnp.asarray(TRUTH + ERROR, jnp.float32), jnp.asarray(TRUTH, jnp.float32), space=1)
    assert single.dtype == jnp.float32
    assert float(single) == pytest.approx(float(one), rel=1e-5)


def test_grad_is_that_of_finite_differences():
    direction = np.random.default_rng(1).normal(size=TRUTH.shape)
    value = lambda s: float(nrmse(TRUTH + ERROR + s * direction, TRUTH, space=1))
    slope = jax.grad(lambda a: nrmse(a, TRUTH, space=1))(jnp.asarray(TRUTH + ERROR))
    assert float(jnp.sum(slope * direction)) == pytest.approx((value(1e-6) - value(-1e-6)) / 2e-6, rel=1e-6)


def test_integers_are_read_as_numbers():
    assert float(nrmse(np.array([[2, 2]]), np.array([[1, 1]]), space=1)) == 1.0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nrmse(TRUTH, TRUTH[:1], space=1), ValueError, r"one shape, got \(2, 2, 4\) and \(1, 2, 4\)"),
        (lambda: nrmse(np.ones(4), np.ones(4), space=1), ValueError, r"at least 2 axes; got shape \(4,\)"),
        (lambda: vrmse(np.ones((2, 4)), np.ones((2, 4)), space=2), ValueError, "with 2 spatial axes"),
        (lambda: nrmse(TRUTH, TRUTH, space=0), ValueError, "space is the number of spatial axes.*got 0"),
        (lambda: rmse(TRUTH, TRUTH, space=True), ValueError, "got True"),
        (lambda: nrmse(TRUTH, TRUTH, space=1, definition="wel"), ValueError, "'wel' does not exist.*Did you mean 'well'"),
        (lambda: nrmse(TRUTH * 1j, TRUTH, space=1), TypeError, "nrmse: prediction must be real"),
        (lambda: mae(np.ones((0, 4)), np.ones((0, 4)), space=1), ValueError, "is empty"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.slow
def test_exponax_is_what_its_own_function_gives():
    exponax = pytest.importorskip("exponax", minversion="0.2")
    a, b = (jnp.asarray(x) for x in np.random.default_rng(4).normal(size=(2, 3, 2, 8, 8)))
    theirs = exponax.metrics.mean_metric(exponax.metrics.nRMSE, a, b)
    assert float(nrmse(a, b, space=2, definition="exponax")) == pytest.approx(float(theirs), rel=1e-12)
