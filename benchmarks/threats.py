"""What the threat identifier costs a telemetry period: all samples of one real job, and the estimate."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import numpy as np

from industriverse_core.machine import DEFAULT_MACHINE, load_machine
from industriverse_core.telemetry import PowerSample, ResidualSample, TelemetrySample, VibrationSample
from shield_node.threats.identifier import ThreatIdentifier
from tests.campaign.programs import small_job
from tests.campaign.rig import Rig

SEED = 77


def run() -> Iterator[dict]:
    profile = load_machine(DEFAULT_MACHINE)
    began = time.process_time()
    rig = Rig(profile, SEED)
    samples = list(rig.run_job(small_job(profile, random.Random(SEED))))
    yield {"metric": "rig", "value": round(rig.now_s / (time.process_time() - began)), "unit": "times real time"}
    identifier = ThreatIdentifier(profile)
    observe = {
        TelemetrySample: identifier.observe_telemetry,
        ResidualSample: identifier.observe_residual,
        PowerSample: identifier.observe_power,
        VibrationSample: identifier.observe_vibration,
    }
    periods, estimates, spent = [], [], 0.0
    for sample in samples:
        started = time.thread_time()
        observe[type(sample)](sample, sample.stamp_s)
        spent += time.thread_time() - started
        if isinstance(sample, TelemetrySample):
            started = time.thread_time()
            identifier.estimate(sample.stamp_s)
            estimates.append(time.thread_time() - started)
            periods.append(spent + estimates[-1])
            spent = 0.0
    for name, values in (("estimate", estimates), ("all samples of a period and the estimate", periods)):
        for share in (50, 99):
            figure = round(1e6 * float(np.percentile(values, share)))
            yield {"metric": f"{name}, p{share}", "value": figure, "unit": "us"}
