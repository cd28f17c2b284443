"""Reads a price's account for the report: its parts, its total and the figures beside them, whatever it has of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from industriverse_cli.report.model import Amount, Price, Quantity

UNITS = ("j", "w", "s", "m", "kg", "m3", "c")  # as names of fields end in them
RATIOS = ("efficiency", "perfection", "score", "ratio", "share", "probability")  # last words of numbers without a unit
TITLES = {
    "": "besides",
    "hotend": "hot end",
    "bands": "electricity by tariff",
    "flow": "material of one run",
    "exergy": "exergy of one run",
    "footprint": "Thermal Footprint of one good part",
    "carbon_kg": "carbon dioxide equivalent",
    "peak_w": "highest quarter-hour mean",
    "new_peak_w": "rise of the site's peak",
    "electric_j": "electricity",
    "material_in_j": "material, chemical",
    "in_j": "comes in",
    "part_j": "in the part",
    "rest_j": "in what is cut away",
    "melt_j": "warmth of the part",
    "heat_j": "leaves with heat",
    "stored_j": "left in the heaters",
    "out_j": "comes out",
    "task_j": "least that the task needs",
    "minimum_j": "least possible",
    "destroyed_with_room_j": "destroyed, the room included",
    "destroyed_j": "destroyed in the machine",
    "lost_j": "lost with heat",
    "electricity_j": "making the electricity",
    "failures_j": "failures and scrap",
}


def title(name: str) -> str:
    """A name in an account as people read it."""
    return spoken(name, TITLES)


def spoken(name: str, titles: Mapping[str, str]) -> str:
    """A field's name as people read it: its title, else its words without the unit."""
    stem = name.rpartition("_")[0] if unit_of(name) else name
    return titles.get(name) or stem.replace("_", " ")


def unit_of(name: str) -> str:
    """The unit that a field's name ends in; empty where it ends in none."""
    stem, _, unit = name.rpartition("_")
    return unit if stem and unit in UNITS else ""


def price_of(account: Any) -> Price:
    """A price from an account as twin_node.price makes it; what is added there shows up here by itself.

    `account` has `currency`, `total` (an Estimate), `parts` (a dataclass of amounts) and `notes` (sentences). Should
    the parts not add up to the total, the rest is one more part. Every other number whose name ends in a unit or in a
    word for a ratio is a fact; those of a dataclass in it, and of a tuple of named ones, are a group of facts.
    """
    total = account.total
    amounts = {item.name: getattr(account.parts, item.name) for item in fields(account.parts)}
    rest = total.mean - sum(amounts.values())
    if abs(rest) > 1e-6 * max(1.0, abs(total.mean)):
        amounts["other"] = rest
    groups = {"": tuple(_facts(account))}
    for item in fields(account):
        if item.name not in ("parts", "total"):
            groups[item.name] = tuple(_group(getattr(account, item.name)))
    return Price(
        currency=account.currency,
        total=Quantity("total", "price of one good part", account.currency, total.mean, total.low, total.high),
        parts=tuple(Amount(name, title(name), account.currency, value) for name, value in amounts.items() if value),
        facts={name: found for name, found in groups.items() if found},
        notes=tuple(account.notes),
    )


def _group(value: Any) -> Iterator[Amount]:
    """Facts of a dataclass, or of a tuple of dataclasses that have names."""
    if is_dataclass(value):
        yield from _facts(value)
    elif isinstance(value, tuple):
        for each in value:
            if is_dataclass(each) and hasattr(each, "name"):
                for fact in _facts(each):
                    yield Amount(f"{each.name}.{fact.key}", f"{each.name}: {fact.title}", fact.unit, fact.value)


def _facts(thing: Any) -> Iterator[Amount]:
    """The numbers of a dataclass, its properties included, that say their unit or that they are a ratio; not zeros."""
    computed = [name for name, value in vars(type(thing)).items() if isinstance(value, property)]
    for name in [*(item.name for item in fields(thing)), *computed]:
        unit = unit_of(name)
        if not (unit or name.rpartition("_")[2] in RATIOS):
            continue
        value = getattr(thing, name)
        if isinstance(value, (int, float)) and math.isfinite(value) and value != 0:
            yield Amount(name, title(name), unit, float(value))
