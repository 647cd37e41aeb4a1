"""A map of central metabolism, laid out by hand for the identifiers of BiGG: where each metabolite stands and what joins them.

Cofactors are left out but in the respiratory chain; a star marks a metabolite that is drawn a second time.
"""

from __future__ import annotations

import math
from typing import NamedTuple


class Edge(NamedTuple):
    """One reaction as it is drawn: from these places to those, through `middle` if it is given, bent to the left of its way."""

    reaction: str
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    bend: float = 0.0
    middle: tuple[float, float] | None = None


class Layout(NamedTuple):
    """Places of metabolites, reactions between them, and the words and the wall in the background."""

    places: dict[str, tuple[float, float]]
    edges: tuple[Edge, ...]
    titles: tuple[tuple[str, float, float], ...] = ()
    wall: tuple[float, float, float, float] | None = None  # left, bottom, right, top of the cell
    stubs: dict[str, tuple[float, float]] | None = None  # exchange -> the point outside where its arrow ends


_CENTRE, _RADIUS = (8.0, -1.3), 3.4
_CYCLE = {"cit": 60.0, "acon_C": 22.5, "icit": -15.0, "akg": -52.5, "succoa": -90.0, "succ": -127.5, "fum": -165.0}
_CYCLE |= {"mal__L": 157.5, "oaa": 120.0}
_LEFT, _RIGHT, _BOTTOM, _TOP = 0.0, 20.0, -6.2, 18.7

_INNER = {
    **{"g6p": (8, 17.2), "f6p": (8, 15.6), "fdp": (8, 14.0), "dhap": (5.6, 12.6), "g3p": (8, 12.4), "13dpg": (8, 11.0)},
    **{"3pg": (8, 9.7), "2pg": (8, 8.5), "pep": (8, 7.2), "pyr": (8, 5.6), "accoa": (8, 3.8)},
    **{"6pgl": (10.9, 17.2), "6pgc": (13.5, 17.2), "ru5p__D": (16.4, 17.2), "r5p": (14.7, 15.3), "xu5p__D": (18.0, 15.3)},
    **{"s7p": (14.7, 12.9), "g3p_c*": (18.0, 12.9), "e4p": (14.7, 10.5), "f6p_c*": (18.0, 10.5)},
    **{"xu5p__D_c*": (12.0, 12.2), "f6p_c**": (12.9, 8.5), "g3p_c**": (15.6, 8.5)},
    **{
        "lac__D": (13.2, 6.9),
        "for": (13.2, 5.6),
        "acald": (11.9, 4.2),
        "etoh": (15.6, 4.2),
        "h2o_c*": (4.4, 10.7),
        "actp": (11.9, 2.7),
        "ac": (15.6, 2.7),
    },
    **{"glu__L": (13.6, -3.0), "gln__L": (16.7, -1.9), "glx": (8.6, -1.3)},
    **{
        "nadph": (1.5, 16.6),
        "nadh": (1.5, 14.4),
        "q8h2": (1.5, 12.0),
        "o2": (1.5, 9.4),
        "adp": (4.6, 16.6),
        "atp": (4.6, 14.4),
    },
    **{"co2": (16.7, 1.3), "nh4": (16.7, 0.5), "pi": (16.7, -0.3), "h2o": (16.7, -1.1)},
}
_OUTER = {
    **{"glc__D": (8, 19.7), "fru": (5.2, 19.7)},
    **{"lac__D": (21.2, 6.9), "for": (21.2, 5.6), "etoh": (21.2, 4.2), "ac": (21.2, 2.7), "acald": (21.2, 3.45)},
    **{"co2": (21.2, 1.3), "nh4": (21.2, 0.5), "pi": (21.2, -0.3), "h2o": (21.2, -1.1), "gln__L": (21.2, -1.9)},
    **{"glu__L": (21.2, -3.0), "akg": (21.2, -4.6), "h": (21.2, 8.2)},
    **{"o2": (-1.2, 9.4), "pyr": (-1.2, 5.6), "mal__L": (-1.2, 0.0), "fum": (-1.2, -2.2), "succ": (-1.2, -4.6)},
}


def _places() -> dict[str, tuple[float, float]]:
    places = {name if "*" in name else f"{name}_c": (float(x), float(y)) for name, (x, y) in _INNER.items()}
    for name, degrees in _CYCLE.items():
        angle = math.radians(degrees)
        places[f"{name}_c"] = (_CENTRE[0] + _RADIUS * math.cos(angle), _CENTRE[1] + _RADIUS * math.sin(angle))
    return places | {f"{name}_e": (float(x), float(y)) for name, (x, y) in _OUTER.items()}


def _edges() -> tuple[Edge, ...]:
    # reaction: sources > targets, bend. The arcs of the cycle are bent as its circle is.
    text = """
    GLCpts: glc__D_e > g6p_c; FRUpts2: fru_e > f6p_c 0.12; PGI: g6p_c > f6p_c
    PFK: f6p_c > fdp_c 0.25; FBP: fdp_c > f6p_c 0.25; FBA: fdp_c > g3p_c dhap_c; TPI: dhap_c > g3p_c -0.3
    GAPD: g3p_c > 13dpg_c; PGK: 13dpg_c > 3pg_c; PGM: 3pg_c > 2pg_c; ENO: 2pg_c > pep_c
    PYK: pep_c > pyr_c 0.25; PPS: pyr_c > pep_c 0.25; PDH: pyr_c > accoa_c; PFL: pyr_c > for_c
    G6PDH2r: g6p_c > 6pgl_c; PGL: 6pgl_c > 6pgc_c; GND: 6pgc_c > ru5p__D_c
    RPI: ru5p__D_c > r5p_c; RPE: ru5p__D_c > xu5p__D_c
    TKT1: r5p_c xu5p__D_c > s7p_c g3p_c*; TALA: s7p_c g3p_c* > e4p_c f6p_c*
    TKT2: xu5p__D_c* e4p_c > f6p_c** g3p_c**
    CS: oaa_c accoa_c > cit_c 0.2887; ACONTa: cit_c > acon_C_c 0.17; ACONTb: acon_C_c > icit_c 0.17
    ICDHyr: icit_c > akg_c 0.17; AKGDH: akg_c > succoa_c 0.17; SUCOAS: succoa_c > succ_c 0.17
    SUCDi: succ_c > fum_c 0.28; FRD7: fum_c > succ_c 0.18; FUM: fum_c > mal__L_c 0.17; MDH: mal__L_c > oaa_c 0.17
    ICL: icit_c > glx_c; MALS: glx_c > mal__L_c
    PPC: pep_c > oaa_c -0.3; PPCK: oaa_c > pep_c 0.42; ME1: mal__L_c > pyr_c 0.3; ME2: mal__L_c > pyr_c 0.42
    LDH_D: pyr_c > lac__D_c -0.1; ACALD: accoa_c > acald_c; ALCD2x: acald_c > etoh_c
    PTAr: accoa_c > actp_c -0.1; ACKr: actp_c > ac_c
    GLUDy: akg_c > glu__L_c 0.15; GLUSy: akg_c > glu__L_c -0.15; GLNS: glu__L_c > gln__L_c 0.2; GLUN: gln__L_c > glu__L_c 0.2
    D_LACt2: lac__D_c > lac__D_e; FORt2: for_e > for_c 0.06; FORt: for_c > for_e 0.06; ETOHt2r: etoh_c > etoh_e
    ACt2r: ac_c > ac_e; ACALDt: acald_c > acald_e
    CO2t: co2_c > co2_e; NH4t: nh4_c > nh4_e; PIt2r: pi_c > pi_e; H2Ot: h2o_c > h2o_e
    GLNabc: gln__L_e > gln__L_c; GLUt2r: glu__L_c > glu__L_e; AKGt2r: akg_c > akg_e
    PYRt2: pyr_c > pyr_e; MALt2_2: mal__L_e > mal__L_c; FUMt2_2: fum_e > fum_c
    SUCCt2_2: succ_e > succ_c 0.08; SUCCt3: succ_c > succ_e 0.08
    NADTRHD: nadph_c > nadh_c 0.25; THD2: nadh_c > nadph_c 0.25; NADH16: nadh_c > q8h2_c
    CYTBD: q8h2_c o2_c > h2o_c*; O2t: o2_e > o2_c
    ATPS4r: adp_c > atp_c 0.3; ATPM: atp_c > adp_c 0.3
    """
    edges = []
    for part in text.replace("\n", ";").split(";"):
        if not part.strip():
            continue
        reaction, rest = part.strip().split(": ")
        left, right = rest.split(" > ")
        words = right.split()
        bend = float(words.pop()) if words[-1].lstrip("-").replace(".", "").isdigit() else 0.0
        edges.append(Edge(reaction, tuple(left.split()), tuple(words), bend))
    return tuple(edges)


def central_metabolism() -> Layout:
    """The map: glycolysis, pentose phosphates, the citric acid cycle, fermentation, respiration."""
    places = _places()
    stubs = {}
    for name, (x, y) in _OUTER.items():
        dx, dy = (-2.0, 0.0) if x < _LEFT else (2.0, 0.0) if x > _RIGHT else (0.0, 1.4)
        stubs[f"EX_{name}_e"] = (x + dx, y + dy)
    titles = (
        ("Glycolysis", 9.9, 13.9),
        ("Pentose phosphates", 14.0, 18.1),
        ("Citric acid cycle", 8.0, -5.6),
        ("Fermentation", 17.6, 7.6),
        ("Respiration, energy", 3.0, 17.7),
    )
    return Layout(places, _edges(), titles, (_LEFT, _BOTTOM, _RIGHT, _TOP), stubs)
