"""Bursts of an accelerometer: the line format, and the features of a burst. No I/O.

One line of ASCII a burst, ended by a newline:

    <ms>,<rate_hz>,<n>,<x0>,<y0>,<z0>,<x1>,...*<hh>

`ms`: the sensor's own clock at the first sample; n triples of integers in mm/s^2, gravity included; `hh`: exclusive or
of all bytes before the asterisk, two hexadecimal digits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from industriverse_core.telemetry import BANDS

MOST_SAMPLES = 4096
FEWEST_SAMPLES = 16  # of a burst whose spectrum says something
MAX_LINE_BYTES = 3 * 8 * MOST_SAMPLES + 64
MAX_MM_S2 = 10_000_000  # 1000 g
MAX_MS = 10**15
HEAD_FIELDS = 3


@dataclass(frozen=True, slots=True)
class Burst:
    """`uptime_s`: the sensor's clock at the first sample; `acceleration_m_s2`: float array (n, 3)."""

    uptime_s: float
    rate_hz: float
    acceleration_m_s2: np.ndarray

    @property
    def duration_s(self) -> float:
        """From the first sample to the last."""
        return (len(self.acceleration_m_s2) - 1) / self.rate_hz


@dataclass(frozen=True, slots=True)
class Features:
    """Of one axis of a burst, without its mean. Fields as in industriverse_core.telemetry.VibrationSample."""

    rms_m_s2: float
    kurtosis: float
    dominant_frequency_hz: float
    band_energy: tuple[float, ...]


def parse_burst(line: bytes) -> Burst | None:
    """The burst in one line, or None for anything else."""
    body, star, check = line.strip().rpartition(b"*")
    if not star or len(check) != 2 or len(line) > MAX_LINE_BYTES:
        return None
    try:
        if int(check, 16) != _checksum(body):
            return None
        values = [int(field) for field in body.split(b",")]
    except ValueError:
        return None
    if len(values) < HEAD_FIELDS:
        return None
    uptime_ms, rate_hz, count = values[:HEAD_FIELDS]
    samples = values[HEAD_FIELDS:]
    in_range = 0 <= uptime_ms <= MAX_MS and 1 <= rate_hz <= 1_000_000 and 1 <= count <= MOST_SAMPLES
    if not in_range or len(samples) != 3 * count or any(abs(value) > MAX_MM_S2 for value in samples):
        return None
    return Burst(uptime_ms * 1e-3, float(rate_hz), np.array(samples, float).reshape(count, 3) * 1e-3)


def _checksum(data: bytes) -> int:
    return int(np.bitwise_xor.reduce(np.frombuffer(data, np.uint8))) if data else 0


class BurstParser:
    """Bytes in, bursts out. Garbage, lines that fail their check and overlong lines are dropped and counted."""

    def __init__(self) -> None:
        self._partial = bytearray()
        self._synchronised = False  # the first line may be the rest of one
        self.dropped = 0

    def feed(self, data: bytes) -> list[Burst]:
        """The bursts completed by `data`."""
        self._partial += data
        *lines, rest = self._partial.split(b"\n")
        self._partial = bytearray(rest)
        bursts = []
        for line in lines:
            burst = parse_burst(bytes(line)) if self._synchronised else None
            self.dropped += self._synchronised and burst is None
            self._synchronised = True
            if burst is not None:
                bursts.append(burst)
        if len(self._partial) > MAX_LINE_BYTES:
            self._partial.clear()
            self._synchronised = False
            self.dropped += 1
        return bursts


def features(samples_m_s2: np.ndarray, rate_hz: float) -> Features | None:
    """Features of equally spaced samples; None for fewer than FEWEST_SAMPLES.

    Kurtosis is the fourth moment over the squared second (3 for a Gaussian). Band energies are mean squares by
    Parseval's theorem, in BANDS equal bands from 0 to rate / 2, and add up to the square of the RMS. The dominant
    frequency is the highest peak under a Hann window, with a parabola through the logarithms of three bins (Smith,
    Spectral Audio Signal Processing, 2011, "Quadratic Interpolation of Spectral Peaks"); NaN where nothing vibrates.
    """
    count = len(samples_m_s2)
    if count < FEWEST_SAMPLES:
        return None
    x = samples_m_s2 - samples_m_s2.mean()
    mean_square = float(np.mean(x**2))
    fourth = float(np.mean(x**4))
    energy = np.abs(np.fft.rfft(x)) ** 2 / count**2
    energy[1 : (count + 1) // 2] *= 2.0  # all but 0 and rate / 2 stand for two bins
    band = np.minimum(BANDS * 2 * np.arange(len(energy)) // count, BANDS - 1)
    sums = np.bincount(band, energy, BANDS)
    return Features(
        rms_m_s2=math.sqrt(mean_square),
        kurtosis=fourth / mean_square**2 if mean_square > 1e-18 else math.nan,
        dominant_frequency_hz=_peak_bin(x) * rate_hz / count if mean_square > 1e-18 else math.nan,
        band_energy=tuple(sums.tolist()),
    )


def _peak_bin(x: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(x * np.hanning(len(x))))
    peak = 1 + int(np.argmax(spectrum[1:]))
    if not 1 < peak < len(spectrum) - 1:
        return float(peak)
    low, middle, high = np.log(np.maximum(spectrum[peak - 1 : peak + 2], 1e-300))
    curve = low - 2.0 * middle + high
    return peak + (0.5 * float(low - high) / float(curve) if curve < 0.0 else 0.0)
