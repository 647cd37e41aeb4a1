"""The self-test says "ok" here, and "WRONG" where something is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsci import doctor


def test_quick_report_names_what_is_installed():
    text, status = doctor.report(quick=True)
    assert status == 0
    assert f"  jax {jax.__version__}" in text.splitlines()
    for word in ("Python", "devices", "cores", "default precision float64", "extras", "No self-test"):
        assert word in text


@pytest.mark.slow
def test_full_report_is_well():
    text, status = doctor.report()
    assert status == 0, text
    assert "9 of 9 checks ok" in text
    assert text.count("  ok    ") == 9


def test_cheap_checks_measure_round_off():
    for measure in (doctor._fourier, doctor._products):
        error, bound = measure("float64")
        assert 0 < error <= bound


def test_a_wrong_transform_is_found(monkeypatch):
    """A compiler that gets one value of a transform wrong."""
    right = jnp.fft.rfftn
    monkeypatch.setattr(jnp.fft, "rfftn", lambda u: right(u).at[(0,) * u.ndim].add(1e-3))
    check = doctor._run("transforms", doctor._fourier, "float64")
    assert check.ok  # the mean is multiplied by k = 0 in that test
    monkeypatch.setattr(jnp.fft, "rfftn", lambda u: right(u).at[(0,) * (u.ndim - 1) + (3,)].add(1e-3))
    check = doctor._run("transforms", doctor._fourier, "float64")
    assert not check.ok
    assert "WRONG transforms: error" in check.line()


def test_one_wrong_row_of_a_batch_is_found(monkeypatch):
    """What jax 0.10.2 did: the last row of 16,385."""
    plain = jax.jit

    def jit(function):
        def wrong(*arguments):
            squares, forms = plain(function)(*arguments)
            return squares.at[-1].mul(1.5), forms

        return wrong

    monkeypatch.setattr(jax, "jit", jit)
    assert not doctor._run("products", doctor._products, "float64").ok


def test_a_check_that_raises_or_is_nan_is_wrong():
    def broken(dtype):
        raise RuntimeError("no kernel\nfor this device")

    check = doctor._run("solve", broken, "float64")
    assert not check.ok
    assert "WRONG solve: RuntimeError: no kernel for this device" in check.line()
    assert not doctor._run("solve", lambda dtype: (np.nan, 1.0), "float64").ok


def test_known_bad_and_missing_versions_are_reported(monkeypatch):
    monkeypatch.setattr(doctor, "KNOWN_BAD", {("jax", jax.__version__): "computes wrongly"})
    text, status = doctor.report(quick=True)
    assert status == 1
    assert f"WRONG: jax {jax.__version__} computes wrongly" in text
    monkeypatch.setattr(doctor, "REQUIRED", ("jax", "no-such-package"))
    text, _ = doctor.report(quick=True)
    assert "no-such-package MISSING" in text
    assert "no-such-package is not installed: pip install no-such-package" in text


def test_a_failed_check_sets_the_status(monkeypatch):
    bad, good = (doctor.Check(name, error, 1e-3, 0.0) for name, error in (("one", 1.0), ("two", 0.0)))
    monkeypatch.setattr(doctor, "self_test", lambda: [bad, good])
    text, status = doctor.report()
    assert status == 1
    assert "1 of 2 checks ok" in text
