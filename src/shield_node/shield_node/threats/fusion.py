"""From scores to probabilities of causes: a multinomial logistic model whose weights are never negative.

P(cause) = softmax(bias + weights . scores), with NONE as the reference at 0. As no weight is negative, more evidence
never makes "nothing is wrong" likelier. The weights lie in a data file that says where they come from.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from industriverse_core.errors import ErrorCode, InputError
from industriverse_core.threats import Cause
from shield_node.threats.scores import KINDS, Score

Array = NDArray[np.float64]
CAUSES = tuple(Cause)
REFERENCE = CAUSES.index(Cause.NONE)
SHIPPED = "threats.json"
MOST_WEIGHT = 1e3


@dataclass(frozen=True, slots=True, eq=False)
class FusionModel:
    """Weights.

    Attributes:
        bias: (causes,) log-odds against NONE without any evidence.
        weights: (causes, scores), >= 0; the row of NONE is 0.
        provenance: where they come from, in words and figures.
    """

    bias: Array
    weights: Array
    provenance: dict[str, object]

    def probabilities(self, scores: Array, extra: Array | None = None) -> Array:
        """(..., causes) of scores (..., scores); `extra` (causes,) is added to the log-odds."""
        logits = self.bias + scores @ self.weights.T
        if extra is not None:
            logits = logits + extra
        odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
        shares: Array = odds / odds.sum(axis=-1, keepdims=True)
        return shares

    def to_json(self) -> str:
        """The data file; names instead of numbers, so that an order may change."""
        causes = {
            cause.name: {
                "bias": round(float(self.bias[at]), 4),
                "weights": {s.name: round(float(w), 4) for s, w in zip(Score, self.weights[at], strict=True) if w > 0},
            }
            for at, cause in enumerate(CAUSES)
            if at != REFERENCE
        }
        return json.dumps({"provenance": self.provenance, "causes": causes}, indent=1) + "\n"


def read_model(text: str) -> FusionModel:
    """From the data file's text. Raises InputError (UNREADABLE_MESSAGE) for anything that is no such file."""
    try:
        document = json.loads(text)
        bias, weights = np.zeros(len(CAUSES)), np.zeros((len(CAUSES), len(KINDS)))
        for name, entry in document["causes"].items():
            at = CAUSES.index(Cause[name])
            bias[at] = float(entry["bias"])
            for score, weight in entry["weights"].items():
                weights[at, Score[score]] = float(weight)
        provenance = dict(document["provenance"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _unreadable(f"{type(error).__name__}: {error}") from error
    sound = np.isfinite(bias).all() and bool(((weights >= 0.0) & (weights <= MOST_WEIGHT)).all())
    if not sound or bias[REFERENCE] or weights[REFERENCE].any():
        raise _unreadable(f"weights must lie between 0 and {MOST_WEIGHT:g}, and NONE has none")
    return FusionModel(bias, weights, provenance)


def shipped_model() -> FusionModel:
    """The model of the package."""
    return read_model(files("shield_node").joinpath("data", SHIPPED).read_text())


def log_odds(probability: float) -> float:
    """Of a probability within (0, 1)."""
    return math.log(probability / (1.0 - probability))


def _unreadable(seen: str) -> InputError:
    return InputError(
        ErrorCode.UNREADABLE_MESSAGE,
        f"this is no file of threat weights ({seen[:120]}).",
        "Make it with python -m shield_node.threats.fit.",
    )
