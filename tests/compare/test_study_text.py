"""A study in sentences and aligned tables: honest in every case, and never wider than a terminal."""

import dataclasses
import math

import numpy as np
import pytest
from study_example import HOSTILE, interval, measurement, study

from jaxsci.compare.study_report import Interval, Verdict
from jaxsci.compare.study_tables import groups, number, payback, percent, runs, seconds, spread, tables
from jaxsci.compare.study_tables import interval as told
from jaxsci.compare.study_text import lead, others, sentence, study_text

NAN, INF = math.nan, math.inf
SLOW = interval(0.25)
NEVER, UNKNOWN = Interval(INF, INF, INF), Interval(NAN, NAN, NAN)


def said(error=0.12, ratio=SLOW, bound="", pays=NEVER, upfront=600.0, name="FNO"):
    return sentence(study("quick"), Verdict(name, 64, interval(error), ratio, bound, UNKNOWN, pays, upfront))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (4.123, "4.1"), (0.0996, "0.10"), (9.96, "10"), (12_345, "12,000"), (0.00123, "0.0012"), (3.21e-5, "3.2e-5"),
        (0, "0"), (-7.4, "-7.4"), (NAN, "-"), (INF, "infinite"), (3e9, "3.0e9"),
        (999_999, "1.0e6"), (949_999, "950,000"), (2.4e6, "2.4e6"), (0.00999, "0.010"),
        (100, "100"),
    ],
)  # fmt: skip
def test_numbers_have_two_digits(value, text):
    assert number(value) == text


def test_units_suit_the_size():
    assert [percent(v) for v in (0.12, 1.3, 0.0034, 3.1e-6, INF, NAN, 0)] == [
        "12 %", "130 %", "0.34 %", "3.1e-6", "blew up", "-", "0 %",
    ]  # fmt: skip
    assert [seconds(v) for v in (1.2e-6, 3.4e-4, 0.0137, 1.3, 96.0, 646.0, 9000.0, 0.0, NAN)] == [
        "1.2 us", "0.34 ms", "13.7 ms", "1.3 s", "96.0 s", "10.8 min", "2.5 h", "0", "-",
    ]  # fmt: skip
    assert [runs(v) for v in (12_345.2, INF, NAN, 0.4)] == ["12,000", "never", "-", "1"]


def test_intervals_share_their_unit():
    assert told(Interval(0.12, 0.096, 0.15), percent) == "12 (9.6 to 15) %"
    assert told(Interval(4.1, 3.2, 5.0)) == "4.1 (3.2 to 5.0)"
    assert told(Interval(0.9, 0.7, 1.1), bare=True) == "0.90, from 0.70 to 1.1"
    assert told(Interval(INF, 0.7, INF), percent) == "blew up"
    assert told(UNKNOWN) == "-"
    assert told(Interval(0.5, NAN, NAN)) == "0.50"
    assert told(Interval(9000.0, 7000.0, INF), runs) == "9,000 (7,000 to never)"
    assert payback(Interval(INF, 41_200.0, INF)) == "never (at best 41,000)"
    assert payback(NEVER) == "never"
    assert payback(Interval(500.0, 0.0, 700.0), "at least") == "at most 500"
    assert payback(Interval(500.0, 300.0, INF), "at most") == "at least 500"
    assert spread([3.0, 1.0, 2.0]) == "2.0 (1.0 to 3.0)"
    assert spread([4.0, NAN]) == "4.0"
    assert spread([NAN]) == "-"


def test_the_solver_is_faster_and_the_surrogate_never_pays_back():
    assert said() == (
        "At the error of FNO (12 %) and batch 64, ETDRK4 is 4.0 (3.2 to 5.0) times faster than the surrogate; "
        "the surrogate never pays back."
    )


def test_the_surrogate_is_faster_and_pays_back():
    assert said(ratio=interval(3.0), pays=Interval(12_345, 9_012, INF)) == (
        "FNO is 3.0 (2.4 to 3.8) times faster than ETDRK4 at the same error (12 %) and batch 64; the 10.0 min spent on it pay "
        "back after 12,000 (9,000 to never) runs in batches of 64."
    )
    assert said(ratio=interval(3.0), pays=Interval(0, 0, 0), upfront=0.0).endswith("; nothing was spent on it beforehand.")


def test_an_interval_around_one_is_no_victory():
    text = said(ratio=interval(1.05), pays=Interval(INF, 41_200, INF))
    assert "neither ETDRK4 nor the surrogate is faster beyond doubt (ratio 1.1, from 0.84 to 1.3)" in text
    assert text.endswith("the surrogate never pays back (at best, after 41,000 runs).")


def test_beyond_the_ladder_the_ratio_is_a_bound():
    assert said(1.4, interval(0.1), "at most") == (
        "Even the cheapest rung of ETDRK4 (n = 12, 130 %) is more accurate than FNO (140 %), and at batch 64 it is at least 10 "
        "times faster; the surrogate never pays back."
    )
    rung = study("quick").measurements[0].error  # told in as many digits as it takes
    near = said(1.002 * rung, interval(0.1), "at most")
    assert f"(n = 12, {100 * rung:.0f} %) is more accurate than FNO ({100.2 * rung:.0f} %)" in near
    assert "at batch 64 FNO is at most 3.0 times faster" in said(1.4, interval(3.0), "at most", Interval(100, 50, INF))
    assert "pay back after at least 100 runs" in said(1.4, interval(3.0), "at most", Interval(100, 50, INF))
    assert said(1.4, UNKNOWN, "at most").startswith(
        "Even the cheapest rung of ETDRK4 (n = 12, 130 %) is more accurate than FNO (140 %) at batch 64;"
    )
    above = said(0.001, interval(3.0), "at least", Interval(100, 0, 200))
    assert above.startswith(
        "No rung of ETDRK4 is as accurate as FNO (0.10 %), which at batch 64 is at least 3.0 times faster"
    )
    assert above.endswith("pay back after at most 100 runs in batches of 64.")
    slower = said(0.001, interval(0.5), "at least", Interval(NAN, 0.0, INF))
    assert slower == "No rung of ETDRK4 is as accurate as FNO (0.10 %) at batch 64; whether it pays back cannot be told."


def test_what_blew_up_or_meets_the_truth_is_not_timed():
    assert said(INF, UNKNOWN, "at most", name="ResNet").startswith(
        "ResNet blew up (38 % of the starts): it has no error at which"
    )
    assert said(NAN, UNKNOWN).startswith("FNO has no error at batch 64")
    assert "not above that of the truth itself (0.021 %)" in said(1e-4, interval(50.0), pays=Interval(3, 2, 4))
    assert "pay" not in said(1e-4, interval(50.0), pays=Interval(3, 2, 4))


def test_a_training_that_the_budget_ended_is_no_ordinary_one():
    report = study("quick")
    cut = [dataclasses.replace(m, cut_short="2 of 200 steps") if m.name == "FNO" else m for m in report.measurements]
    found = dataclasses.replace(report, measurements=tuple(cut))
    assert "FNO (12 %, cut short after 2 of 200 steps)" in sentence(found, report.verdicts[0])
    assert [row[0] for row in tables(found)[0].rows][:3] == ["FNO, cut short", "FNO, cut short", "U-Net"]


def test_the_lead_is_one_to_three_sentences_about_the_largest_batch():
    report = study("quick")
    assert lead(report)[0] == "U-Net pays back against ETDRK4 in batches of 64; the other surrogates do not."
    assert lead(report)[1].startswith("U-Net is 2.4 (1.9 to 3.0) times faster than ETDRK4")
    assert len(others(report)) == 4  # the two of the one that blew up are the same
    only = dataclasses.replace(report, verdicts=report.verdicts[:2])
    assert lead(only) == (
        sentence(only, report.verdicts[1]),
        "The baseline 'coarse + correction' (11.6 %) errs less than FNO.",
    )
    none = dataclasses.replace(report, verdicts=(report.verdicts[1], report.verdicts[5]))
    assert lead(none)[0] == "None of the 2 surrogates pays back against ETDRK4 in batches of 64."
    assert lead(none)[1].startswith("At the error of FNO")
    both = dataclasses.replace(report, verdicts=(report.verdicts[3], dataclasses.replace(report.verdicts[3], name="B")))
    assert lead(both)[0] == "All 2 surrogates pay back against ETDRK4 in batches of 64."
    vague = dataclasses.replace(report.verdicts[3], name="B", break_even=Interval(NAN, 0.0, INF))
    at_floor = dataclasses.replace(report.verdicts[3], name="C", error=interval(1e-4))
    assert lead(dataclasses.replace(report, verdicts=(vague, at_floor)))[0].startswith(
        "None of the 2 surrogates is known to pay"
    )
    mixed = dataclasses.replace(report, verdicts=(report.verdicts[3], vague))
    assert lead(mixed)[0].startswith("U-Net pays back against")
    assert lead(mixed)[0].endswith("the other surrogates are not known to.")
    assert lead(dataclasses.replace(report, verdicts=())) == ("No surrogate was judged.",)


def test_the_text_begins_with_the_verdict_and_fits_a_terminal():
    report = study("quick", hostile=True)
    text = study_text(report)
    assert text.startswith(HOSTILE)
    assert max(map(len, text.splitlines())) <= 120
    for expected in ("Verdicts", "Error and cost", "Over a long time", "Out of distribution", "What it cost",
                     "its own error is 0.021 %", "Note: ResNet was trained", "machine: x86_64", "jaxsci compare quick",
                     "blew up on 1 of 2", "1,188,353", "valid", "oddity"):  # fmt: skip
        assert expected in text, expected
    assert text.isascii()


def test_a_table_has_one_row_for_all_seeds_and_one_for_each_rung():
    found = {table.key: table for table in tables(study("quick"))}
    assert list(found) == ["verdicts", "front", "metrics", "shifts", "cost"]
    names = [row[0] for row in found["front"].rows]
    assert names[:2] == ["ETDRK4, n = 12, dt = 1/6", "ETDRK4, n = 16, dt = 1/8"]
    assert "FNO (3 seeds)" in names
    assert [len(g.members) for g in groups(study("quick"))] == [1] * 6 + [3] * 3 + [1] * 6
    for table in found.values():
        assert all(len(row) == len(table.head) for row in table.rows)
        assert len(table.families) == len(table.rows)
    shifts = {row[0]: row for row in found["shifts"].rows}
    solver = next(m for m in study("quick").measurements if m.detail == "n = 32, dt = 1/16")
    assert shifts["ETDRK4, n = 32, dt = 1/16"][1] == percent(solver.error)
    assert shifts["persistence"][-1] == "-"
    assert "FNO, twice the box: its modes are tied to the box" in found["shifts"].notes
    cost = {row[0]: row for row in found["cost"].rows}
    assert cost["FNO (3 seeds)"][1:6] == ("1,188,353", "96.0 s", "430 (400 to 460) s", "120 s", "10.8 (10.3 to 11.3) min")


def test_a_report_of_almost_nothing_is_told():
    empty = dataclasses.replace(
        study("quick"), measurements=(), verdicts=(), shifts=(), notes=(), settings={}, environment={}, ts=np.zeros(0)
    )
    assert study_text(empty).startswith("No surrogate was judged.")
    assert tables(empty) == ()
    one = dataclasses.replace(empty, measurements=(measurement("m", "solver", "", 0.1, 1.0),))
    assert "m " in study_text(one)


def test_the_unit_of_the_valid_time_is_told_only_where_it_is_known():
    report = study("quick")
    head = {t.key: t for t in tables(report)}["metrics"].head
    assert "valid prediction time, in Lyapunov times of 1.7" in head
    unknown = dataclasses.replace(report, settings={})
    assert "valid prediction time" in {t.key: t for t in tables(unknown)}["metrics"].head
