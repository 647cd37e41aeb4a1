"""What users get wrong in calls, and the one sentence that each mistake gets."""

import jax
import jax.numpy as jnp
import pytest

import jaxsci as js
from jaxsci.control.checks import flat_bounds
from jaxsci.control.task import Task

GOOD = {
    "dynamics": lambda p, s, a: s + a,
    "cost": lambda p, s, a, s1: s1**2,
    "init": lambda p: jnp.asarray(1.0),
    "horizon": 3,
}


@pytest.mark.parametrize(
    ("field", "function", "message"),
    [
        ("cost", lambda s, a: s**2, r"cost is called with \(parameters, state, action, next_state\).*got <lambda>\(s, a\)"),
        (
            "dynamics",
            lambda p, s, a, noise: s,
            r"dynamics is called with \(parameters, state, action\), and with key= or t=",
        ),
        ("init", lambda: jnp.asarray(1.0), r"init is called with \(parameters\)"),
        ("terminal", lambda s: s, r"terminal is called with \(parameters, state\)"),
    ],
)
def test_a_function_with_other_arguments_is_refused_when_the_task_is_made(field, function, message):
    with pytest.raises(TypeError, match=message):
        Task(**GOOD | {field: function})


def test_functions_that_take_what_they_are_given():
    class Adder:
        def __call__(self, p, s, a, *, t):
            return s + a * t

    for dynamics in (
        lambda *args: args[1],
        lambda p, s, a, key: s,
        Adder(),
        jax.jit(lambda p, s, a: s + a),
        lambda p, s, a, c=1: s,
    ):
        Task(**GOOD | {"dynamics": dynamics})


def test_a_policy_without_parameters_is_told_so():
    with pytest.raises(TypeError, match=r"the policy is called with \(params, observation\).*got <lambda>\(s\)"):
        js.control.rollout(Task(**GOOD), lambda s: -s)


def test_a_misspelt_option_gets_the_nearest_one():
    with pytest.raises(TypeError, match=r"option .gradent. does not exist; .*Did you mean .gradient."):
        js.control.analytic_policy_gradient(Task(**GOOD), lambda p, s: p * s, 1.0, gradent="score")


def test_bounds_like_an_action():
    action = {"a": jnp.zeros(2), "b": jnp.zeros(())}
    low, high = flat_bounds("it", -1.0, {"a": jnp.array([1.0, 2.0]), "b": 3.0}, action)
    assert low.tolist() == [-1, -1, -1]
    assert high.tolist() == [1, 2, 3]
    assert flat_bounds("it", None, None, action) is None
    for bounds, message in (
        ((0.0, None), "give both"),
        ((1.0, 0.5), "low must be below high, got low=1.0"),
        (({"a": 1.0}, 2.0), "low is a"),
    ):
        with pytest.raises(ValueError, match=message):
            flat_bounds("it", *bounds, action)
