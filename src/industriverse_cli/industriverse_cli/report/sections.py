"""The sections of the page, one function each; the tool path's is in stage.py."""

from __future__ import annotations

from collections.abc import Sequence

from industriverse_cli.programs import VERDICT_WORD
from industriverse_cli.report import charts
from industriverse_cli.report.accounts import title
from industriverse_cli.report.charts import chip
from industriverse_cli.report.formats import interval_text, mean_text, number_text, share_text, value_text
from industriverse_cli.report.markup import Markup, element, join, section, table
from industriverse_cli.report.model import Amount, Outcome, Quantity, Report
from industriverse_cli.report.stage import layer_noun

VERDICT_SIGN = {"accept": "✓", "warn": "!", "refuse": "✕"}
HEADLINE = ("time_s", "energy_j", "price", "material_kg", "peak_power_w")
HEADLINE_CARDS = 4
ORIGINS = {"V": "read at the source", "K": "known", "C": "computed"}  # the letters of core's Material.sources


def header(report: Report) -> Markup:
    """Name, machine, material and verdict."""
    facts = [report.machine_title, report.material]
    generator = report.provenance.get("generator")
    facts += [f"sliced by {generator}"] if generator else []
    return element(
        "header",
        element(
            "div",
            element("p", "Program report", class_="kicker"),
            element("h1", report.name),
            element("p", [element("span", fact) for fact in facts], class_="facts"),
        ),
        element(
            "p",
            element("span", VERDICT_SIGN[report.verdict], class_="sign", aria_hidden="true"),
            VERDICT_WORD[report.verdict].capitalize(),
            class_=f"badge {report.verdict}",
        ),
    )


def headline(report: Report) -> Markup:
    """The numbers that most readers came for, each with its interval, and the story in two sentences."""
    outcome = report.outcome
    if outcome is None:
        return section(
            "headline",
            "No prediction",
            element("p", report.unpredicted, class_="lead"),
            note="Time, energy and price cannot be computed for this program:",
        )
    price = outcome.price
    found = {each.key: each for each in outcome.quantities}
    if price is not None:
        found["price"] = price.total
    shown = [found[key] for key in HEADLINE if key in found][:HEADLINE_CARDS]
    deviations = [abs(side / each.mean - 1.0) for each in shown if each.mean > 0 for side in (each.low, each.high)]
    widest = max([*deviations, 0.01]) * 1.15
    cards = [_card(each, widest) for each in shown]
    return element(
        "section",
        element("h2", "At a glance", class_="unseen"),
        element("div", cards, class_="cards"),
        element("p", _story(report, outcome), class_="lead"),
        id="headline",
    )


def _card(each: Quantity, widest: float) -> Markup:
    names = {"time_s": "Time", "energy_j": "Energy", "price": "Price", "material_kg": "Material", "total": "Price"}
    title = names.get(each.key, each.title.capitalize())
    return element(
        "div",
        element("p", title, class_="title"),
        element("p", mean_text(each), class_="value"),
        charts.range_bar(each, widest) if each.mean > 0.0 else None,
        element("p", interval_text(each), element("span", "90 %"), class_="interval"),
        class_="card",
    )


def _story(report: Report, outcome: Outcome) -> Markup:
    """What happens, in words a manager would use."""
    time, energy = outcome.quantity("time_s"), outcome.quantity("energy_j")
    said = []
    if time and energy:
        doing = "Printing" if report.kind == "printer" else "Milling"
        takes = "would take" if report.verdict == "refuse" else "takes"
        said.append(f"{doing} {takes} {mean_text(time)} and {mean_text(energy)} of electricity")
        if outcome.subsystems and energy.mean > 0.0:
            first = outcome.subsystems[0]
            said[-1] += f"; the largest consumer is the {first.title} with {share_text(first.mean / energy.mean)}"
        layers = outcome.layers
        if len(layers.z_m) and energy.mean > 0.0 and layers.before_j / energy.mean > 0.05:
            said[-1] += f", and {share_text(layers.before_j / energy.mean)} is spent before the first layer"
    price = outcome.price
    if price is not None and price.parts and price.total.mean > 0.0:
        largest = max(price.parts, key=lambda part: part.value)
        said.append(
            f"A good part {'would cost' if report.verdict == 'refuse' else 'costs'} {mean_text(price.total)}, of which "
            f"{share_text(largest.value / price.total.mean)} is {largest.title}"
        )
    return join(". ".join(said) + "." if said else None)


def findings(report: Report) -> Markup:
    """What the gates say, worst first."""
    if not report.findings:
        return section("findings", "Findings", element("p", "The gates have nothing to say against this program."))
    count = report.errors + report.warnings
    note = f"{_counted(report.errors, 'error')}, {_counted(report.warnings, 'warning')}"
    if count > len(report.findings):
        note += f"; the first {len(report.findings)} are listed"
    rows = []
    for number, each in enumerate(report.findings):
        severity = each.severity.name.lower()
        place = str(each.line) if each.line else "all"
        show = None
        if report.finding_vertices[number] >= 0:
            show = element("button", "show", type="button", class_="show", data_finding=number)
        rows.append([
            element("span", severity, class_=f"severity {severity}"),
            place,
            join(
                element("p", _sentence(each.message.removeprefix(f"Line {each.line}: "))),
                element("p", each.remedy, class_="remedy") if each.remedy else None,
            ),
            join(number_text(each.value), " ", each.unit) if each.value == each.value else "–",
            join(number_text(each.limit), " ", each.unit) if each.limit == each.limit else "–",
            join(element("code", each.rule), show),
        ])  # fmt: skip
    heads = ["severity", "line", "what, and what to do", "seen", "allowed", "rule"]
    listed = element("div", table(heads, rows, "Findings of the gates", frozenset({1, 3, 4})), class_="scroll")
    if report.verdict != "refuse":
        return section("findings", "Findings", listed, note=note)
    first = report.findings[0]
    return element(
        "section",
        element("h2", "This program must not run"),
        element("p", element("strong", first.message), " ", first.remedy, class_="lead"),
        element("p", note, class_="note"),
        listed,
        id="findings",
        class_="refusal",
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _counted(count: int, noun: str) -> str:
    return f"1 {noun}" if count == 1 else f"{count or 'no'} {noun}s"


def power(report: Report) -> Markup | None:
    """Power and temperatures over time, on one axis of time."""
    outcome = report.outcome
    if outcome is None or not outcome.power.power_w:
        return None
    order = [each.key for each in outcome.subsystems]
    entries = [
        element("span", chip(order.index(each.key)), each.title, class_="entry")
        for each in outcome.subsystems
        if each.key in outcome.power.power_w
    ]
    peak = outcome.quantity("peak_power_w")
    note = f"Peak {mean_text(peak)} (90 %: {interval_text(peak)})." if peak else None
    parts = [
        element("div", entries, class_="legend"),
        charts.power_chart(outcome.power, order),
    ]
    if outcome.temperatures_c:
        named = [
            element("span", element("span", class_=f"dash t{number}", aria_hidden="true"), title(name), class_="entry")
            for number, name in enumerate(outcome.temperatures_c)
        ]
        parts += [
            element("h3", "Temperatures"),
            element("div", named, class_="legend"),
            charts.temperature_chart(outcome.temperatures_s, outcome.temperatures_c),
        ]
    return section("power", "Power over time", parts, note=note)


def _spoken(name: str) -> str:
    return {"hotend": "hot end"}.get(name, name.replace("_", " "))


def energy(report: Report) -> Markup | None:
    """Where the electricity goes in, and where it ends."""
    outcome = report.outcome
    total = outcome.quantity("energy_j") if outcome else None
    if outcome is None or total is None or total.mean <= 0.0:
        return None
    widest = max(each.high for each in outcome.subsystems)
    rows: list[list[object]] = [
        [
            join(chip(number), each.title),
            charts.bar(each.mean / widest, each.low / widest, each.high / widest, number),
            mean_text(each),
            share_text(each.mean / total.mean),
            interval_text(each),
        ]
        for number, each in enumerate(outcome.subsystems)
    ]
    rows.append([element("strong", "together"), "", mean_text(total), "100 %", interval_text(total)])
    heads = ["subsystem", "", "energy", "share", "90 % interval"]
    balance = [
        element("li", chip(number), f"{each.title}: ", element("strong", mean_text(each)),
                f" ({share_text(each.value / total.mean)})")
        for number, each in enumerate(outcome.balance)
    ]  # fmt: skip
    return section(
        "energy",
        "Energy by subsystem",
        element("div", table(heads, rows, "Energy by subsystem", frozenset({2, 3, 4})), class_="scroll bars"),
        element("h3", "Where the electricity ends up"),
        charts.stacked_bar(outcome.balance, "Where the electricity ends"),
        element("ul", balance, class_="parts"),
    )


def _of_energy(each: Amount) -> bool:
    return each.unit in ("j", "")


def _groups(outcome: Outcome, of_energy: bool) -> list[Markup]:
    """What the price's account says besides money: about energy and efficiency, or about the rest."""
    shown = []
    for group, facts in outcome.price.facts.items() if outcome.price else ():
        belongs = [each for each in facts if _of_energy(each)]
        if group and belongs:  # a group stays together
            belongs = list(facts) if of_energy else []
        elif not of_energy:
            belongs = [each for each in facts if not _of_energy(each)]
        if belongs:
            heading = title(group)
            shown += [element("h3", _sentence(heading)), _facts(belongs)]
    return shown


def _facts(facts: Sequence[Amount]) -> Markup:
    """Names and values."""
    listed = [element("div", element("dt", each.title), element("dd", mean_text(each))) for each in facts]
    return element("dl", listed, class_="facts")


def exergy(report: Report) -> Markup | None:
    """What the energy is worth and what becomes of it: exergy, footprint, electricity by tariff."""
    shown = _groups(report.outcome, of_energy=True) if report.outcome else []
    return section("exergy", "Exergy and footprint", shown) if shown else None


def layers(report: Report) -> Markup | None:
    """Joules of each layer."""
    outcome = report.outcome
    if outcome is None or not len(outcome.layers.z_m):
        return None
    per, noun = outcome.layers, layer_noun(report)
    inside = float(per.energy_j.sum())
    note = (
        f"{value_text(inside, 'j')} in {len(per.z_m)} {noun}s; {value_text(per.before_j, 'j')} before the first and "
        f"{value_text(per.after_j, 'j')} after the last."
    )
    return section("layers", f"Energy by {noun}", charts.layer_chart(per.energy_j, per.z_m, noun), note=note)


def price(report: Report) -> Markup | None:
    """The price of one good part and what it is made of."""
    offer = report.outcome.price if report.outcome else None
    if report.outcome is None or offer is None:
        return None
    total = offer.total.mean
    rows: list[list[object]] = [
        [
            join(chip(number), part.title),
            f"{part.value:.3f}",
            share_text(part.value / total) if total > 0.0 else "–",
        ]
        for number, part in enumerate(offer.parts)
    ]
    rows.append([element("strong", "one good part"), element("strong", f"{total:.2f}"), "100 %"])
    return section(
        "price",
        "Price",
        charts.stacked_bar(offer.parts, "Parts of the price"),
        element(
            "div",
            table(["part", offer.currency, "share"], rows, "Parts of the price", frozenset({1, 2})),
            element("div", _groups(report.outcome, of_energy=False)),
            class_="beside",
        ),
        element("ul", [element("li", note) for note in offer.notes], class_="plain") if offer.notes else None,
        note=f"{mean_text(offer.total)} for one good part; 90 %: {interval_text(offer.total)}.",
    )


def prediction(report: Report) -> Markup | None:
    """Every predicted quantity with its interval."""
    outcome = report.outcome
    if outcome is None:
        return None
    all_of_them = [*outcome.quantities, *([outcome.price.total] if outcome.price else [])]
    rows: list[list[object]] = [
        [
            each.title,
            mean_text(each),
            interval_text(each),
            "exact" if each.low == each.high or each.mean == 0.0
            else f"{each.low / each.mean - 1.0:+.1%} … {each.high / each.mean - 1.0:+.1%}",
        ]
        for each in all_of_them
    ]  # fmt: skip
    heads = ["quantity", "expected", "90 % interval", "relative"]
    listed = element("div", table(heads, rows, "Predicted quantities", frozenset({1, 2, 3})), class_="scroll")
    return section("prediction", "Predictions with their intervals", listed)


def assumptions(report: Report) -> Markup:
    """What is taken for granted, and where the numbers come from."""
    origins = [
        element(
            "details",
            element("summary", f"Where the numbers of {name} come from"),
            _texts_list({key: _origin(text) for key, text in texts.items()}),
        )
        for name, texts in report.sources.items()
        if texts
    ]
    return section(
        "assumptions",
        "What this rests on",
        element("ul", [element("li", text) for text in report.assumptions], class_="plain"),
        origins,
    )


def _origin(text: str) -> str:
    """An entry of `sources` with the letter that it begins with in words."""
    letter, _, rest = text.partition(" ")
    return f"{ORIGINS[letter]}: {rest}" if letter in ORIGINS else text


def _texts_list(texts: dict[str, str]) -> Markup:
    return element(
        "dl",
        [element("div", element("dt", name.replace("_", " ")), element("dd", text)) for name, text in texts.items()],
    )


def footer(report: Report) -> Markup:
    """Which program, which profile, which version."""
    rows = [
        element("div", element("dt", name.replace("_", " ")), element("dd", str(value)))
        for name, value in report.provenance.items()
        if value not in ("", None)
    ]
    return element("footer", element("h2", "Provenance", class_="unseen"), element("dl", rows))
