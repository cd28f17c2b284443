"""The colour map of quantities: perceptually ordered, from low to high."""

from __future__ import annotations

import numpy as np

NO_VALUE = 255  # of a coloured quantity that a thing does not have
TOP_VALUE = 254  # quantities are bytes, 0 = low to 254 = high
# low to high: lightness rises steadily, so that it also reads in grey and with any colour vision
RAMP = ("#4338ca", "#7c2fd4", "#b12fb4", "#dd4a86", "#f4745a", "#fda23c", "#fbd24a")
NO_COLOUR = "#8b95a7"


def rgb(colours: tuple[str, ...]) -> np.ndarray:
    """Colours like '#fbd24a' as (n, 3) floats, 0 to 255."""
    return np.array([[int(text[at : at + 2], 16) for at in (1, 3, 5)] for text in colours], float)


def ramp_rgb(value: np.ndarray) -> np.ndarray:
    """Colours of bytes on a scale, (n, 3); NO_VALUE is grey."""
    stops = rgb(RAMP)
    at = value / TOP_VALUE * (len(stops) - 1)
    colours = np.column_stack([np.interp(at, np.arange(len(stops)), stops[:, channel]) for channel in range(3)])
    colours[value == NO_VALUE] = rgb((NO_COLOUR,))
    return colours
