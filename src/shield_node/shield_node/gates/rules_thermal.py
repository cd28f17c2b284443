"""Heaters: how hot, when, and whether they are switched off."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from industriverse_core.artefacts import Severity
from industriverse_core.machine import Heater as HeaterProfile
from industriverse_core.machine import MachineProfile
from industriverse_core.program import Heater, Op
from shield_node.gates.context import Context
from shield_node.gates.registry import Hits, Seen, rule

PREPARATION_M = 2e-3  # of filament; direct drives draw back 0.5 to 2 mm
NAMES = {Heater.HOTEND: "hot end", Heater.BED: "bed", Heater.CHAMBER: "chamber"}


def _heater_profile(profile: MachineProfile, heater: Heater) -> HeaterProfile | None:
    return {Heater.HOTEND: profile.hotend, Heater.BED: profile.bed}.get(heater)


def _commands(context: Context, heater: Heater) -> np.ndarray:
    """Mask of the commands to one heater."""
    return context.is_op(Op.SET_HEATER, Op.WAIT_HEATER) & (context.program.target == heater)


@rule("thermal.overtemperature", "No heater is set above what the machine allows, or below 0 degC.")
def overtemperature(context: Context) -> Iterator[Hits]:
    """The limits are the profile's max_temperature of each heater."""
    value = context.program.value
    for heater, name in NAMES.items():
        profile = _heater_profile(context.profile, heater)
        if profile is None:
            continue
        top = profile.max_temperature
        yield Hits(
            Severity.ERROR,
            np.flatnonzero(_commands(context, heater) & ~((value >= 0.0) & (value <= top))),
            lambda i, name=name, top=top: Seen(
                f"the {name} is set to {value[i]:g} degC; 0 to {top:g} degC are allowed.",
                "Choose the temperature that the material's maker states.",
                value[i],
                top,
                "degC",
            ),
        )


@rule("heater.absent", "Only heaters that the machine has are switched on.")
def absent(context: Context) -> Iterator[Hits]:
    """Switching off what is not there is harmless and passes."""
    program = context.program
    is_command = context.is_op(Op.SET_HEATER, Op.WAIT_HEATER)
    present = [heater for heater in NAMES if _heater_profile(context.profile, heater) is not None]
    where = np.flatnonzero(is_command & ~np.isin(program.target, present) & ~(program.value == 0.0))

    def describe(index: int) -> Seen:
        target = int(program.target[index])
        name = NAMES[Heater(target)] if target in list(Heater) else f"heater {target}"
        return Seen(
            f"the {name} is set to {program.value[index]:g} degC; {context.profile.id} has none.",
            "Choose the machine that the program was made for.",
            program.value[index],
            0.0,
            "degC",
        )

    yield Hits(Severity.ERROR, where, describe)


@rule(
    "thermal.cold_extrusion",
    "Filament is pushed only while the hot end is set to the extruder's lowest temperature or more.",
)
def cold_extrusion(context: Context) -> Iterator[Hits]:
    """Cold filament does not flow: the drive grinds it or the controller drops the move. Retracting is allowed.

    One finding for each command that left the hot end too cold."""
    lowest = _lowest_extrusion_c(context)
    if lowest is None:
        return
    hotend = context.heater(Heater.HOTEND)
    cold = context.is_printing & ~(hotend.target_c >= lowest)
    yield Hits(
        Severity.ERROR,
        _first_of_each_state(cold, hotend.set_at),
        lambda i: Seen(
            f"filament is pushed while the hot end is set to {hotend.target_c[i]:g} degC; "
            f"at least {lowest:g} degC are needed.",
            "Heat and wait (M109) before extruding.",
            hotend.target_c[i],
            lowest,
            "degC",
        ),
    )


@rule("thermal.no_wait", "Filament is pushed only after a wait for the hot end; a heated bed is waited for too.")
def no_wait(context: Context) -> Iterator[Hits]:
    """What is assured is the temperature that was last waited for, lowered by every lower command since.

    An assured hot end below the extruder's lowest temperature is an error, an unawaited bed a warning."""
    lowest = _lowest_extrusion_c(context)
    if lowest is None:
        return
    hotend, bed = context.heater(Heater.HOTEND), context.heater(Heater.BED)
    early = context.is_printing & (hotend.target_c >= lowest) & ~(hotend.assured_c >= lowest)
    yield Hits(
        Severity.ERROR,
        _first_of_each_state(early, hotend.set_at),
        lambda i: Seen(
            f"filament is pushed before the program waited for the hot end ({hotend.target_c[i]:g} degC set, "
            f"{hotend.assured_c[i]:g} degC assured); at least {lowest:g} degC must be assured.",
            "Wait for the temperature (M109) before extruding.",
            hotend.assured_c[i],
            lowest,
            "degC",
        ),
    )
    waited = context.last(_commands(context, Heater.BED) & context.is_op(Op.WAIT_HEATER)) >= 0
    unawaited = context.is_printing & (bed.target_c > 0.0) & ~waited
    yield Hits(
        Severity.WARNING,
        np.flatnonzero(unawaited)[:1],
        lambda i: Seen(
            f"printing begins before the program waited for the bed ({bed.target_c[i]:g} degC set).",
            "Wait for the bed (M190) so that the first layer sticks.",
            bed.assured_c[i],
            bed.target_c[i],
            "degC",
        ),
    )


@rule("thermal.material_window", "Nozzle and bed print within the material's temperatures.")
def material_window(context: Context) -> Iterator[Hits]:
    """Looked at where filament is pushed, so stand-by temperatures pass. Only when the material is known."""
    material = context.material
    if material is None:
        return
    for heater, low, high in (
        (Heater.HOTEND, material.nozzle_min, material.nozzle_max),
        (Heater.BED, None, material.bed_max),
    ):
        state = context.heater(heater)
        lowest = -np.inf if low is None else low
        highest = np.inf if high is None else high
        outside = (
            context.is_printing & (state.target_c > 0.0) & ~((state.target_c >= lowest) & (state.target_c <= highest))
        )

        def describe(index: int, heater=heater, state=state, low=low, high=high, lowest=lowest) -> Seen:
            window = f"{low:g} to {high:g} degC" if low is not None else f"at most {high:g} degC"
            value = state.target_c[index]
            return Seen(
                f"printing with the {NAMES[heater]} at {value:g} degC; {material.id} wants {window}.",
                "Check the material, or slice with its temperatures.",
                value,
                lowest if value < lowest else high,
                "degC",
            )

        yield Hits(Severity.WARNING, _first_of_each_state(outside, state.set_at), describe)


@rule("thermal.left_on", "A program that prints switches its heaters off at its end.")
def left_on(context: Context) -> Iterator[Hits]:
    """The last command to each heater decides; the finding names it.

    A program that pushes less than 2 mm of filament in all, about one retraction, makes no part: it heats, levels or
    primes, and may hand the warm machine on. That is a note.
    """
    if not len(context.program):
        return
    pushed = float(context.fresh_m3.sum()) / context.filament_area_m2
    severity = Severity.WARNING if not pushed < PREPARATION_M else Severity.INFO
    for heater, name in NAMES.items():
        state = context.heater(heater)
        target = state.target_c[-1]
        if target != 0.0:
            yield Hits(
                severity,
                [int(state.set_at[-1])],
                lambda i, name=name, target=target: Seen(
                    f"the program ends with the {name} still set to {target:g} degC.",
                    "Switch it off at the end (M104 S0, M140 S0).",
                    target,
                    0.0,
                    "degC",
                ),
            )


@rule("thermal.endless_wait", "A wait for a heater ends.")
def endless_wait(context: Context) -> Iterator[Hits]:
    """Above the temperature where the heater's full power equals its loss to the room (profile: power, loss, ambient)
    it never ends: an error. Below the room's temperature it ends only on controllers that do not wait for cooling: a
    warning."""
    value, room = context.program.value, context.profile.ambient
    for heater, name in NAMES.items():
        profile = _heater_profile(context.profile, heater)
        if profile is None:
            continue
        waits = _commands(context, heater) & context.is_op(Op.WAIT_HEATER)
        hottest = room + profile.power / profile.loss
        for severity, hit, what, limit in (
            (Severity.ERROR, waits & (value >= hottest), "gets no hotter than", hottest),
            (Severity.WARNING, waits & (value > 0.0) & (value < room), "gets no colder than the room's", room),
        ):
            yield Hits(
                severity,
                np.flatnonzero(hit),
                lambda i, name=name, what=what, limit=limit: Seen(
                    f"the program waits for the {name} at {value[i]:g} degC; it {what} {limit:g} degC.",
                    "Wait for a temperature that it reaches.",
                    value[i],
                    limit,
                    "degC",
                ),
            )


@rule("thermal.paused", "The hot end is not hot while the program waits for the operator.")
def paused(context: Context) -> Iterator[Hits]:
    """A stop (M0, M1) lasts as long as nobody comes; filament decays in the nozzle, and heat is unattended."""
    lowest = _lowest_extrusion_c(context)
    if lowest is None:
        return
    target = context.heater(Heater.HOTEND).target_c
    yield Hits(
        Severity.WARNING,
        np.flatnonzero(context.is_op(Op.PROGRAM_STOP, Op.OPTIONAL_PROGRAM_STOP) & (target >= lowest)),
        lambda i: Seen(
            f"the program waits for the operator with the hot end at {target[i]:g} degC.",
            "Cool it before the stop (M104), and heat it again after.",
            target[i],
            lowest,
            "degC",
        ),
    )


def _lowest_extrusion_c(context: Context) -> float | None:
    extruder = context.profile.extruder
    return None if extruder is None else extruder.min_temperature


def _first_of_each_state(bad: np.ndarray, set_at: np.ndarray) -> np.ndarray:
    """The first bad instruction after each heater command, so that a thousand moves in one state are one finding."""
    where = np.flatnonzero(bad)
    return where[np.unique(set_at[where], return_index=True)[1]] if len(where) else where
