"""The stopwatch tells compiling from running."""

import time

import jax
import jax.numpy as jnp
import pytest

from jaxsci._timing import Cost, Stopwatch, _length_of_union


def test_a_function_compiles_on_its_first_call_and_never_on_its_second():
    function = jax.jit(lambda x: jnp.sin(x) @ jnp.cos(x))
    argument = jnp.ones((7, 7))
    with Stopwatch() as first:
        function(argument).block_until_ready()
    with Stopwatch() as second:
        function(argument).block_until_ready()
    with Stopwatch() as other_shape:
        function(jnp.ones((8, 8))).block_until_ready()
    assert second.compile_seconds == 0.0
    assert 0 < first.compile_seconds <= first.wall_seconds
    assert 0 < other_shape.compile_seconds <= other_shape.wall_seconds


def test_what_is_not_compiling_counts_as_running():
    with Stopwatch() as watch:
        jax.jit(lambda x: x * 3 + 1)(jnp.ones(5)).block_until_ready()
        time.sleep(0.05)
        assert watch.elapsed >= 0.05
    assert watch.run_seconds >= 0.05
    assert watch.run_seconds + watch.compile_seconds == pytest.approx(watch.wall_seconds)


def test_nested_jits_are_not_counted_twice():
    inner = jax.jit(lambda x: jnp.tanh(x) ** 2)
    middle = jax.jit(lambda x: inner(x) + inner(2 * x))
    with Stopwatch() as watch:
        jax.jit(lambda x: middle(x) * middle(x + 1))(jnp.ones(6)).block_until_ready()
    assert watch.compile_seconds <= watch.wall_seconds


@pytest.mark.parametrize(
    ("spans", "length"),
    [([], 0.0), ([(1, 2)], 1.0), ([(0, 4), (1, 2)], 4.0), ([(2, 5), (0, 3)], 5.0), ([(0, 1), (2, 4), (3, 5)], 4.0)],
)
def test_length_of_overlapping_spans(spans, length):
    assert _length_of_union(spans) == length


def test_the_watch_stops_listening_when_its_block_ends_even_by_an_error():
    with pytest.raises(RuntimeError, match="inside"), Stopwatch() as watch:
        raise RuntimeError("inside")
    spans = list(watch._spans)
    jax.jit(lambda x: x - 17)(jnp.ones(3))
    assert watch._spans == spans
    assert watch.compile_seconds == 0.0


def test_cost_adds_up_and_counts_running_as_training_or_solving():
    watch = Stopwatch()
    watch.wall_seconds, watch.compile_seconds = 5.0, 2.0
    assert watch.cost() == Cost(compile_seconds=2.0, training_seconds=0.0, solve_seconds=3.0)
    assert watch.cost(training=True) == Cost(compile_seconds=2.0, training_seconds=3.0, solve_seconds=0.0)
    assert watch.cost().total_seconds == watch.cost(training=True).total_seconds == 5.0
    assert Cost().total_seconds == 0.0


def test_a_part_measured_inside_is_left_out():
    whole, part = Stopwatch(), Stopwatch()
    whole.wall_seconds, whole.compile_seconds = 5.0, 2.0
    part.wall_seconds, part.compile_seconds = 1.5, 0.5
    assert whole.cost(without=part) == Cost(compile_seconds=1.5, solve_seconds=2.0)
    assert whole.cost(training=True, without=part) == Cost(compile_seconds=1.5, training_seconds=2.0)
    assert part.cost(without=whole) == Cost()  # never negative
