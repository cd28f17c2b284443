"""What a question to the energy map costs: one state, and many."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from shield_node.envelope import Channel, learn_envelope

CHANNELS = 8
STATES = 500_000
QUESTIONS = 20_000


def run() -> Iterator[dict]:
    random = np.random.default_rng(1)
    mixing = random.normal(size=(CHANNELS, CHANNELS))
    good = random.normal(size=(4000, CHANNELS)) @ mixing
    envelope = learn_envelope(good, [Channel(f"c{number}", "1") for number in range(CHANNELS)])
    states = random.normal(size=(STATES, CHANNELS)) @ mixing
    envelope.accepts(states[:10])
    best = min(_timed(lambda: envelope.energy(states)) for _ in range(3))
    yield {"metric": f"energies, {CHANNELS} channels", "value": round(STATES / best / 1e6, 2), "unit": "million/s"}
    for name, question in (("energy", envelope.energy), ("accepts", envelope.accepts)):
        best = min(_timed(lambda ask=question: _one_by_one(ask, states[:QUESTIONS])) for _ in range(3))
        yield {"metric": f"{name} of one state", "value": round(1e6 * best / QUESTIONS, 1), "unit": "us"}


def _one_by_one(ask, states) -> None:
    for at in range(len(states)):
        ask(states[at : at + 1])


def _timed(work) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started
