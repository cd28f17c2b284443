"""The names of GRBL 1.1's error and alarm codes, from its published interface document."""

from __future__ import annotations

ERRORS = {
    1: "a word without a letter",
    2: "a number that is missing or malformed",
    3: "a '$' command that it does not know",
    4: "a negative value where a positive one is needed",
    5: "homing is not enabled in its settings",
    6: "a step pulse under 3 microseconds",
    7: "its settings could not be read and are now the defaults",
    8: "a '$' command while it is not idle",
    9: "G-code while it is locked by an alarm or jogging",
    10: "soft limits without homing",
    11: "a line that is too long",
    12: "a step rate above what it can do",
    13: "the safety door is open",
    14: "a start-up line that is too long to be stored",
    15: "a jog beyond the machine's travel",
    16: "a jog command that is malformed",
    17: "laser mode without a PWM output",
    20: "a command that it does not have",
    21: "two commands of one modal group in a line",
    22: "a feed move without a feed",
    23: "a value that must be a whole number",
    24: "two commands in a line that both need axis words",
    25: "a word twice in a line",
    26: "a command without the axis words that it needs",
    27: "an invalid line number",
    28: "a command without a value that it needs",
    29: "a coordinate system that it does not have",
    30: "G53 without G0 or G1",
    31: "axis words that no command uses",
    32: "an arc without axis words in its plane",
    33: "an invalid target of a motion",
    34: "an arc with an invalid radius",
    35: "an arc without offsets in its plane",
    36: "words that no command uses",
    37: "a tool length offset for another axis than the configured one",
    38: "a tool number above the largest one",
}

ALARMS = {
    1: "a hard limit was triggered; the position is probably lost",
    2: "a motion beyond the soft limits; the position is kept",
    3: "reset while moving; the position is probably lost",
    4: "the probe was not in its initial state",
    5: "the probe touched nothing within its way",
    6: "homing was reset",
    7: "the safety door was opened while homing",
    8: "homing: pulling off did not clear the limit switch",
    9: "homing: no limit switch was found within the search distance",
}


def error_name(code: int) -> str:
    """`error:22 (a feed move without a feed)`"""
    return f"error:{code} ({ERRORS.get(code, 'not one of GRBL 1.1')})"


def alarm_name(code: int) -> str:
    """`ALARM:1 (a hard limit was triggered; ...)`"""
    return f"ALARM:{code} ({ALARMS.get(code, 'not one of GRBL 1.1')})"
