"""Where labels stand in a drawing: beside their own curve, on nothing else."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_AWAY = (0.1, 0.22, 0.4, 0.7)  # between a label and its curve
_EVERY = 2  # of the points of a curve
_SWEEPS = 3
# What a place costs: area on other words, points of curves beneath it, and being far from where one looks for it.
_ON_WORDS, _ON_CURVES, _FAR, _APART, _OTHER_SIDE = 60.0, 1.0, 0.5, 1.0, 0.2


class Label(NamedTuple):
    """One label to be placed."""

    half: tuple[float, float]  # half of its width and height
    curves: tuple[np.ndarray, ...]  # [k, 2] each: beside which of them it may stand
    spot: np.ndarray  # [2] where it would stand best
    side: np.ndarray  # [2] towards which side


def place_labels(labels: list[Label], words: np.ndarray, curves: np.ndarray) -> np.ndarray:
    """[labels, 2], the centres: the cheapest of many places for each, one after the other, and a few times over.

    Args:
      labels: the most important ones first.
      words: [w, 4] boxes in which no label may stand: centre and half sizes.
      curves: [p, 3] points of all that is drawn, and half the width there.
    """
    choices = [_choices(label, curves) for label in labels]
    halves = np.array([label.half for label in labels]).reshape(-1, 2)
    centres = np.full((len(labels), 2), np.inf)
    for _ in range(_SWEEPS):
        before = centres.copy()
        for k, (places, cost) in enumerate(choices):
            placed = np.flatnonzero(np.isfinite(centres[:, 0]) & (np.arange(len(labels)) != k))
            boxes = np.concatenate([words.reshape(-1, 4), np.concatenate([centres[placed], halves[placed]], 1)])
            centres[k] = places[np.argmin(cost + _ON_WORDS * _overlap(places, halves[k], boxes))]
        if np.array_equal(before, centres):
            break
    return centres


def _choices(label: Label, curves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places [c, 2] of a label's centre, and what each costs before other words are looked at."""
    half = np.array(label.half)
    places, costs = [], []
    for curve in label.curves:
        along = np.gradient(curve, axis=0)
        normal = np.stack([-along[:, 1], along[:, 0]], 1) / np.maximum(np.linalg.norm(along, axis=1), 1e-9)[:, None]
        for point, unit in zip(curve[::_EVERY], normal[::_EVERY], strict=True):
            for way in (unit, -unit):
                for away in _AWAY:
                    places.append(point + way * (abs(way) @ half + away))
                    costs.append(
                        _FAR * np.linalg.norm(point - label.spot) + _APART * away + _OTHER_SIDE * (way @ label.side < -0.2)
                    )
    centres, cost = np.array(places), np.array(costs)
    inside = (np.abs(centres[:, None] - curves[None, :, :2]) < half + curves[None, :, 2:]).all(-1)
    return centres, cost + _ON_CURVES * inside.sum(1)


def _overlap(places: np.ndarray, half: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """[c] the area that a label at each place shares with the boxes, a little margin counted."""
    if not len(boxes):
        return np.zeros(len(places))
    shared = half + boxes[None, :, 2:] + 0.03 - np.abs(places[:, None] - boxes[None, :, :2])
    return np.prod(np.minimum(np.maximum(shared, 0.0), 2 * half), axis=-1).sum(1)
