"""A machine's parameters from one recording, with 90 % intervals; what it does not tell is said, not guessed."""

from __future__ import annotations

import math
from dataclasses import dataclass

from industriverse_core.machine import MachineProfile
from twin_node.identification import power_fit, thermal_fit
from twin_node.identification.power_fit import PowerFit
from twin_node.identification.recording import Recording, cannot, check
from twin_node.identification.thermal_fit import ThermalFit

QUANTILE_90 = 1.6448536269514722  # of the normal distribution, two-sided
MODEL_SHARE = 5e-4  # of a value: when a report was true is known to a tenth of a second, of ramps that last minutes
METER_ACCURACY = 0.005  # of the reading, as INA219-class meters state it
WIDEST = 0.1  # half-width over value from which a parameter is not identified
UNITS = {
    "power.electronics": "W", "power.motors_enabled": "W", "power.motion_per_speed": "W/(m/s)", "power.fan": "W",
    "power.hotend_fan": "W", "power": "W", "heat_capacity": "J/K", "loss": "W/K", "fan_loss": "W/K",
    "ambient": "degC", "lag": "s",
}  # fmt: skip
ALONE_K = 1.0  # widest half-width of an ambient temperature


@dataclass(frozen=True, slots=True)
class Estimate:
    """One parameter.

    Attributes:
        name: as in the profile, "hotend.loss"; `field` says whether the profile has it.
        unit: SI.
        profile: the profile's value; NaN = it has none.
        value, low, high: identified, and the bounds of the 90 % interval; NaN = not identified.
        reason: why it is not identified; "" = it is.
    """

    name: str
    unit: str
    profile: float
    value: float
    low: float
    high: float
    reason: str = ""

    @property
    def identified(self) -> bool:
        """Whether the recording tells it."""
        return not self.reason

    @property
    def field(self) -> bool:
        """Whether it stands in the profile as a property of the machine: not the room, not the way of reading it."""
        return not self.name.endswith((".ambient", ".lag"))


@dataclass(frozen=True, slots=True)
class Identification:
    """All parameters of a machine that a recording was asked for.

    Attributes:
        machine_id: whose.
        estimates: in the order of the profile.
        duration_s: of the recording.
        power_sigma_w: scatter of the meter's steady readings.
        hotend_sigma_k, bed_sigma_k: scatter of the sensors around the model.
        meter_accuracy: relative, that the intervals contain.
    """

    machine_id: str
    estimates: tuple[Estimate, ...]
    duration_s: float
    power_sigma_w: float
    hotend_sigma_k: float
    bed_sigma_k: float
    meter_accuracy: float

    def estimate(self, name: str) -> Estimate:
        """One of them by name."""
        return next(each for each in self.estimates if each.name == name)


def identify(recording: Recording, profile: MachineProfile, meter_accuracy: float = METER_ACCURACY) -> Identification:
    """Find the profile's parameters in a recording.

    Args:
        recording: of the step tests, or of any program that feeds no filament.
        profile: where the fit starts, and what is asked for.
        meter_accuracy: largest relative error of the power meter's gain.
    Raises PredictionError (CANNOT_CALIBRATE): for another machine, and see recording.check and the fits.
    """
    if recording.machine_id != profile.id:
        raise cannot(
            f"the recording is of '{recording.machine_id}', the profile of '{profile.id}'.",
            "Name the machine that was recorded.",
        )
    if profile.hotend is None:
        raise cannot(f"{profile.id} is a {profile.kind}; heaters, fans and motors of printers are calibrated.")
    check(recording)
    if profile.bed is not None and recording.bed is None:
        raise cannot("the recording has no temperature of the bed.")
    power = power_fit.fit_power(recording)
    hotend = thermal_fit.fit_heater(recording, "hotend", profile.hotend, power)
    estimates = _heater_estimates("hotend", hotend, profile, power, meter_accuracy)
    bed = None
    if profile.bed is not None:
        bed = thermal_fit.fit_heater(recording, "bed", profile.bed, power)
        estimates += _heater_estimates("bed", bed, profile, power, meter_accuracy)
    estimates += [_consumer(name, power, profile, meter_accuracy) for name in power_fit.NAMES[: power_fit.HOTEND]]
    sigma_k = math.nan if bed is None else bed.sigma_k
    return Identification(
        profile.id, tuple(estimates), recording.duration_s, power.sigma_w, hotend.sigma_k, sigma_k, meter_accuracy
    )


def _profile_value(profile: MachineProfile, name: str) -> float:
    """The profile's value of 'hotend.loss'; NaN = it has none."""
    section, _, field = name.partition(".")
    if field == "ambient":
        return profile.ambient
    return float(getattr(getattr(profile, section), field, math.nan))


def _consumer(name: str, power: PowerFit, profile: MachineProfile, meter_accuracy: float) -> Estimate:
    """One of the electric consumers."""
    index = power_fit.NAMES.index(name)
    together = power.together[index]
    reason = ""
    if not together:
        reason = f"never seen on for {power_fit.FEWEST_READINGS} steady readings"
    elif not power.identified(index):
        others = ", ".join(other for other in together if other != name)
        reason = f"always switched together with {others}"
    sigma = math.sqrt(max(0.0, power.covariance[index, index]))
    return _made(name, UNITS.get(name, "W"), profile, float(power.value[index]), sigma, meter_accuracy, reason)


def _heater_estimates(
    name: str, fit: ThermalFit, profile: MachineProfile, power: PowerFit, meter_accuracy: float
) -> list[Estimate]:
    """A heater's power and what its trajectory tells."""
    found = [_consumer(f"{name}.power", power, profile, meter_accuracy)]
    enclosed = "the enclosure's air is not measured" if profile.enclosure is not None else ""
    for index in (thermal_fit.CAPACITY, thermal_fit.LOSS, thermal_fit.FAN_LOSS, thermal_fit.AMBIENT, thermal_fit.LAG):
        field = thermal_fit.NAMES[index]
        if field == "fan_loss" and name == "bed":
            continue
        reason = "" if index == thermal_fit.LAG else enclosed
        if not fit.free[index]:
            reason = "the fan never ran while it was hot"
        accuracy = meter_accuracy if index <= thermal_fit.FAN_LOSS else 0.0
        sigma = math.sqrt(max(0.0, fit.covariance[index, index]))
        found.append(_made(f"{name}.{field}", UNITS[field], profile, float(fit.value[index]), sigma, accuracy, reason))
    return found


def _made(
    name: str, unit: str, profile: MachineProfile, value: float, sigma: float, accuracy: float, reason: str
) -> Estimate:
    """An estimate with its interval: the fit's normal one, the meter's uniform one and the model's, in quadrature."""
    half = QUANTILE_90 * math.hypot(sigma, accuracy / math.sqrt(3.0) * value, MODEL_SHARE * value)
    widest = ALONE_K if unit == "degC" else WIDEST * abs(value)
    if not reason and not half <= widest:
        reason = f"the recording leaves it open: {value:.3g} +- {half:.2g} {unit}"
    given = _profile_value(profile, name)
    if reason:
        return Estimate(name, unit, given, math.nan, math.nan, math.nan, reason)
    return Estimate(name, unit, given, value, value - half, value + half)
