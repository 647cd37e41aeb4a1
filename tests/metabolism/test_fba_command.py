"""``jaxsci fba``: what it prints and writes, media in three forms, bad input in one line, infeasible models with the reason."""

import csv
import json

import pytest

import jaxsci as js
from jaxsci.cli import main
from jaxsci.metabolism.command_line import read_medium

MEDIUM = {"EX_glc__D_e": 10.0, "EX_o2_e": 5.0, "EX_nh4_e": 1000.0, "EX_pi_e": 1000.0, "EX_h_e": 1000.0, "EX_h2o_e": 1000.0}


@pytest.mark.slow
def test_growth_and_files(tmp_path, capsys):
    out = tmp_path / "fluxes.json"
    assert main(["fba", "e_coli_core", "--out", str(out), "--top", "2"]) == 0
    text = capsys.readouterr().out
    assert "1 BIOMASS_Ecoli_core_w_GAM = 0.873921507" in text
    assert "EX_glc__D_e" in text
    assert "The 2 largest fluxes" in text
    assert text.rstrip().endswith(f"Written: {out}")
    content = json.loads(out.read_text())
    assert content["status"] == "optimal"
    assert content["objective"] == pytest.approx(0.8739215069684279, rel=1e-9)
    assert content["fluxes"]["EX_glc__D_e"] == pytest.approx(-10.0)
    assert len(content["shadow_prices"]) == 72
    assert [p.name for p in tmp_path.iterdir()] == ["fluxes.json"]


@pytest.mark.slow
def test_medium_knockout_and_objective(tmp_path, capsys):
    medium, out = tmp_path / "medium.json", tmp_path / "fluxes.csv"
    medium.write_text(json.dumps(MEDIUM))
    arguments = ["--medium", str(medium), "--knockout", "b1723", "b3916", "--objective", "ATPM", "--out", str(out)]
    assert main(["fba", "e_coli_core", *arguments, "--top", "0"]) == 0
    text = capsys.readouterr().out
    assert "1 ATPM = " in text
    assert "largest" not in text
    rows = {row["reaction"]: row for row in csv.DictReader(out.read_text().splitlines())}
    assert float(rows["PFK"]["upper"]) == 0.0  # both of its isozymes are gone
    assert float(rows["EX_o2_e"]["lower"]) == -5.0
    assert float(rows["EX_o2_e"]["flux"]) == pytest.approx(-5.0)


@pytest.mark.slow
def test_infeasible_says_why(tmp_path, capsys):
    medium, out = tmp_path / "medium.toml", tmp_path / "out.json"
    medium.write_text("[medium]\nEX_o2_e = 5.0\n")
    assert main(["fba", "e_coli_core", "--medium", str(medium), "--out", str(out)]) == 1
    text = capsys.readouterr().out
    assert "e_coli_core: infeasible. No fluxes at steady state meet all bounds." in text
    assert "8.39 <= ATPM" in text
    assert "What would help is shut: EX_" in text
    assert "Farkas ray" in text
    content = json.loads(out.read_text())
    assert (content["status"], content["objective"], content["fluxes"]["PFK"]) == ("infeasible", None, None)


@pytest.mark.slow
def test_unbounded_names_the_way_out(tmp_path, capsys):
    toy = js.metabolism.from_equations(
        {"in": "-> a", "turn": "a -> b + c", "out": "b ->", "rest": "c ->", "by": "a ->"},
        "out",
        bounds=dict.fromkeys(("in", "turn", "out", "rest"), (0, float("inf"))),
    )
    path = js.metabolism.save(toy, tmp_path / "toy.json")
    assert main(["fba", str(path)]) == 1
    text = capsys.readouterr().out
    assert "unbounded" in text
    assert all(name in text for name in ("in", "turn", "out"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["e_coli_cor"], "the model 'e_coli_cor' does not exist. Did you mean 'e_coli_core'"),
        (["nothing.json"], "nothing.json: there is no such file."),
        (["e_coli_core", "--medium", "no.json"], "no.json: there is no such file."),
        (["e_coli_core", "--medium", "no.txt"], "a medium is a file that ends in .json, .toml or .csv"),
        (["e_coli_core", "--knockout", "b17799"], "reaction or gene 'b17799' does not exist"),
        (["e_coli_core", "--objective", "PFKK"], "reaction 'PFKK' does not exist. Did you mean 'PFK'"),
        (["e_coli_core", "--out", "fluxes.txt"], "--out fluxes.txt: the ending says what to write"),
        (["e_coli_core", "--out", "no/fluxes.csv"], "there is no folder no"),
        (["e_coli_core", "--out", ""], "--out: the file has no name"),
        (["e_coli_core", "--top", "-1"], "--top -1"),
        (["e_coli_core", "--top", "x"], "invalid int value: 'x'"),
        ([], "required: model"),
    ],
)
def test_bad_input_is_one_line_and_status_2(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["fba", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("jaxsci: ")
    assert message in said.err
    assert said.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_model_without_objective(tmp_path, capsys):
    path = js.metabolism.save(js.metabolism.from_equations({"in": "-> a", "out": "a ->"}), tmp_path / "toy.json")
    assert main(["fba", str(path)]) == 2
    assert "has no objective" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.json", '{"EX_a": 1.5, "EX_b": 0}'),
        ("m.json", '{"medium": {"EX_a": 1.5, "EX_b": 0}}'),
        ("m.toml", "EX_a = 1.5\nEX_b = 0"),
        ("m.toml", "[medium]\nEX_a = 1.5\nEX_b = 0"),
        ("m.csv", "EX_a,1.5\nEX_b,0\n"),
        ("m.csv", "﻿exchange, uptake\n\nEX_a, 1.5\nEX_b, 0\n"),
    ],
)
def test_media(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_medium(tmp_path / name) == {"EX_a": 1.5, "EX_b": 0.0}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.json", "{EX_a: 1}", "this is not JSON"),
        ("m.json", "[1]", "a medium is an object"),
        ("m.json", '{"EX_a": true}', "'EX_a' is a number >= 0 in mmol/gDW/h, got True"),
        ("m.json", '{"EX_a": NaN}', "'EX_a' is a number >= 0"),
        ("m.toml", "EX_a", "this is not TOML"),
        ("m.toml", "EX_a = 'x'", "'EX_a' is a number >= 0"),
        ("m.csv", "EX_a,1\nEX_a,2", "'EX_a' stands more than once"),
        ("m.csv", "EX_a,-1", "'EX_a' is a number >= 0"),
        ("m.csv", "a,b\nEX_a,x", "'EX_a' is a number >= 0"),
        ("m.csv", "EX_a;1", "a line of a medium is"),
        ("m.csv", b"\xff\xfe", "no text in UTF-8"),
    ],
)
def test_media_that_are_refused(tmp_path, name, text, message):
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=message):
        read_medium(tmp_path / name)
