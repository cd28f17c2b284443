"""What Marlin's fatal messages mean. Source: the error strings of Marlin 2 and of Prusa's firmware."""

from __future__ import annotations

# (part of the message in small letters, what it means); the first that fits counts
MEANINGS = (
    ("thermal runaway", "a heater did not hold its temperature: loose thermistor, loose heater, or a draught"),
    ("heating failed", "a heater did not warm up: broken heater, loose thermistor, or too little power"),
    ("mintemp", "a temperature below what is possible: the thermistor is broken or unplugged"),
    ("maxtemp", "a temperature above the allowed one: the thermistor is shorted, or the heater is stuck on"),
    ("temp malfunction", "a temperature sensor fails"),
    ("homing failed", "an axis did not reach its end switch"),
    ("probing failed", "the bed probe did not trigger"),
    ("kill", "it was halted (M112, the kill button, or after another error)"),
)


def explain(text: str) -> str:
    """The message, and in brackets what it means where that is known."""
    low = text.lower()
    meaning = next((meaning for part, meaning in MEANINGS if part in low), "")
    return f"{text.rstrip('.')} ({meaning})" if meaning else text
