"""An accelerometer at the tool: one burst of samples a second, as ASCII lines on a serial port of its own.

    <ms>,<rate_hz>,<n>,<x0>,<y0>,<z0>,<x1>,...*<hh>

Integers; `ms` is the sensor's clock at the first sample, accelerations are in mm/s^2 and contain gravity, `hh` is the
exclusive or of all bytes before the star, in hexadecimal.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from machine_node.virtual.axes import Axes, Phase

GRAVITY_M_S2 = 9.80665
RATE_HZ = 1600
SAMPLES = 256
LEAD_SAMPLES = 256  # before the burst, so that the axes' resonance has swung in
PERIOD_S = 1.0
NOISE_M_S2 = 0.04
RANGE_M_S2 = 16.0 * GRAVITY_M_S2


class Shaken(Protocol):
    """What shakes besides the axes' own motion."""

    def shake_m_s2(self) -> float:
        """Broad-band acceleration, standard deviation."""

    def tones(self) -> list[tuple[float, float]]:
        """(frequency [Hz], amplitude [m/s^2])."""


class Accelerometer:
    """The sensor.

    Args:
        axes: whose motion it feels.
        body: what else it feels.
        seed: of its noise and bias.
    """

    def __init__(self, axes: Axes, body: Shaken, seed: int) -> None:
        self._axes, self._body = axes, body
        self._random = np.random.default_rng(seed)
        draw = random.Random(seed)
        self._bias = [draw.uniform(-0.05, 0.05) for _ in range(3)]
        self._started_s = math.nan
        self._last_s = math.nan

    def read(self, at_s: float, moving: Sequence[Phase]) -> bytes:
        """A line when one is due, else nothing. `moving` is what the axes have done of the move in progress."""
        if math.isnan(self._last_s):
            self._started_s = self._last_s = at_s
        if at_s - self._last_s < PERIOD_S:
            return b""
        self._last_s = at_s
        samples = self.samples_m_s2(at_s, moving)
        first_ms = max(0, round((at_s - self._started_s - SAMPLES / RATE_HZ) * 1e3))
        text = f"{first_ms},{RATE_HZ},{SAMPLES}," + ",".join(map(str, np.rint(samples * 1e3).astype(int).ravel()))
        line = text.encode()
        return line + b"*%02X\n" % int(np.bitwise_xor.reduce(np.frombuffer(line, np.uint8)))

    def samples_m_s2(self, at_s: float, moving: Sequence[Phase]) -> np.ndarray:
        """The burst that ends at this time, shape (SAMPLES, 3)."""
        count = LEAD_SAMPLES + SAMPLES
        times = at_s - np.arange(count, -1, -1) / RATE_HZ
        asked = np.diff(self._velocity_m_s(times, moving), axis=0) * RATE_HZ
        felt = np.empty((SAMPLES, 3))
        for axis in range(3):
            if not asked[:, axis].any():  # an axis that stood has nothing to swing
                felt[:, axis] = 0.0
                continue
            swung = _swing(asked[:, axis].tolist(), self._axes.resonance_hz[axis], self._axes.damping[axis])
            felt[:, axis] = swung[LEAD_SAMPLES:]
        felt += self._others(times[-SAMPLES:]) + self._bias
        felt[:, 2] += GRAVITY_M_S2
        return np.clip(felt, -RANGE_M_S2, RANGE_M_S2)

    def _velocity_m_s(self, times: np.ndarray, moving: Sequence[Phase]) -> np.ndarray:
        """Commanded velocity at these times, shape (n, 3); 0 where nothing moved."""
        phases = [*self._axes.phases, *moving]
        if not phases:
            return np.zeros((len(times), 3))
        begin = np.array([phase.begin_s for phase in phases])
        end = np.array([phase.end_s for phase in phases])
        motion = np.array([(*phase.unit, phase.speed_m_s, phase.acceleration_m_s2) for phase in phases])
        index = np.searchsorted(begin, times, side="right") - 1
        inside = (index >= 0) & (times <= end[np.maximum(index, 0)])
        row = motion[np.maximum(index, 0)]
        speed = row[:, 3] + row[:, 4] * (times - begin[np.maximum(index, 0)])
        return row[:, :3] * np.where(inside, speed, 0.0)[:, None]

    def _others(self, times: np.ndarray) -> np.ndarray:
        deviation = math.hypot(NOISE_M_S2, self._body.shake_m_s2())
        felt = self._random.normal(0.0, deviation, (len(times), 3))
        for frequency, amplitude in self._body.tones():
            angle = 2.0 * math.pi * frequency * times
            felt[:, 0] += amplitude * np.sin(angle)
            felt[:, 1] += amplitude * np.cos(angle)
            felt[:, 2] += 0.3 * amplitude * np.sin(angle)
        return felt


def _swing(asked: list[float], frequency_hz: float, damping: float) -> list[float]:
    """Acceleration of a mass on a spring and damper whose other end is accelerated so, semi-implicit Euler."""
    dt = 1.0 / RATE_HZ
    omega = 2.0 * math.pi * frequency_hz
    stiffness, drag = omega * omega, 2.0 * damping * omega
    stretch = speed = 0.0  # of the mass, relative to the end that is moved
    felt = []
    for acceleration in asked:
        relative = -acceleration - stiffness * stretch - drag * speed
        speed += relative * dt
        stretch += speed * dt
        felt.append(acceleration + relative)
    return felt
