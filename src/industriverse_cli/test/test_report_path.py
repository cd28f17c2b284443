"""The report's geometry and sums: what is drawn stays near what is run, within the budget, and no joule is lost."""

import base64
import struct
import zlib
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from industriverse_cli.report.accounts import price_of
from industriverse_cli.report.formats import number_text, ticks
from industriverse_cli.report.markup import data_block, element
from industriverse_cli.report.packing import BUDGET, RECORD, pack
from industriverse_cli.report.picture import HEIGHT, WIDTH, draw
from industriverse_core.artefacts import Estimate
from industriverse_core.gcode import read_gcode
from industriverse_core.moves import MAX_FEATURES, TRAVEL, classify, layers_of, per_layer
from industriverse_core.program import COLUMNS, Metadata, Op, Program, build_program, normalise
from industriverse_core.toolpath import reduce_path

PAGE_LIMIT_BYTES = 5_000_000


def printed(points_mm, extrude=1.0, **metadata):
    """A program that prints through the points."""
    rows = [
        {
            "op": Op.STRAIGHT_FEED,
            "x_m": x * 1e-3,
            "y_m": y * 1e-3,
            "z_m": z * 1e-3,
            "feed_m_s": 0.05,
            "extrude_m3": extrude * 1e-9,
        }
        for x, y, z in points_mm
    ]
    return build_program(rows, Metadata(**metadata))


def reduced(program, budget=BUDGET, mill=False):
    moves = classify(program, mill)
    layers = layers_of(program, moves, downwards=mill)
    count = len(program)
    return reduce_path(program, moves, layers, np.full(count, 2.0), np.full(count, 0.5), budget)


def distance_to(path, point):
    """From a point to the nearest drawn piece [m]."""
    start, end = path.points_m[:-1][path.drawn[1:]], path.points_m[1:][path.drawn[1:]]
    along = end - start
    square = np.maximum((along**2).sum(axis=1), 1e-30)
    share = np.clip(((point - start) * along).sum(axis=1) / square, 0.0, 1.0)
    return np.linalg.norm(start + share[:, None] * along - point, axis=1).min()


coordinates = st.tuples(*(st.floats(0.0, 200.0) for _ in range(2)), st.sampled_from([0.2, 0.4]))


@given(st.lists(coordinates, min_size=1, max_size=40))
def test_every_point_of_the_program_lies_near_what_is_drawn(points):
    program = printed(points)
    path = reduced(program)
    for point in program.positions_m():
        assert distance_to(path, point) <= path.tolerance_m + 1e-9


def test_a_straight_line_of_many_moves_is_one_piece():
    path = reduced(printed([(x, 10.0, 0.2) for x in range(50)]))
    assert len(path.points_m) == 3  # the origin, the first point, the end of the line
    assert path.moves == 50


def test_an_arc_is_drawn_round():
    arc = {"op": Op.ARC_FEED, "x_m": 0.02, "center_1_m": 0.01, "turns": 1, "extrude_m3": 1e-9, "feed_m_s": 0.05}
    path = reduced(build_program([arc]))
    radius = np.linalg.norm(path.points_m[:, :2] - [0.01, 0.0], axis=1)
    assert radius == pytest.approx(0.01, abs=1e-9)
    middles = 0.5 * (path.points_m[1:, :2] + path.points_m[:-1, :2])
    assert np.linalg.norm(middles - [0.01, 0.0], axis=1).min() > 0.01 - path.tolerance_m - 20e-6
    assert path.points_m[:, 1].min() == pytest.approx(-0.01, abs=1e-4)  # counter-clockwise from the left: below


def noise(count, seed=7):
    """A program that no tolerance makes simpler."""
    random = np.random.default_rng(seed)
    columns = {name: np.zeros(count, dtype) for name, dtype in COLUMNS.items()}
    columns["op"][:] = Op.STRAIGHT_FEED
    columns["line"][:] = np.arange(count) + 1
    for name in ("x_m", "y_m"):
        columns[name][:] = random.uniform(0.0, 0.2, count)
    columns["z_m"][:] = np.repeat(np.arange(1, count // 1000 + 2), 1000)[:count] * 2e-4
    columns["feed_m_s"][:] = 0.05
    columns["extrude_m3"][:] = np.where(np.arange(count) % 3 == 0, 0.0, 1e-9)
    return Program(normalise(columns))


def test_no_program_breaks_the_budget():
    path = reduced(noise(400_000))
    assert len(path.points_m) <= BUDGET
    assert path.joined > 1
    assert len(pack(path)["records"]) < 0.7 * PAGE_LIMIT_BYTES


@given(st.integers(3, 60), st.integers(2, 20))
def test_any_budget_is_kept(count, budget):
    path = reduced(noise(count), budget)
    assert len(path.points_m) <= budget


def test_the_page_of_a_large_program_stays_small():
    from industriverse_cli.options import Case
    from industriverse_cli.report.collect import collect
    from industriverse_cli.report.page import page_html
    from industriverse_core.machine import load_machine
    from industriverse_core.material import load_material
    from shield_node.gates import check
    from twin_node.price_parts import Order
    from twin_node.tariff import load_tariff

    case = Case(noise(200_000), load_machine("prusa_mk3s"), load_material("PLA"))
    gates = check(case.program, case.profile, case.material)
    text = page_html(collect(case, gates, load_tariff("default"), Order(), b"", {}))
    assert len(text.encode()) < PAGE_LIMIT_BYTES


def test_packed_coordinates_and_bytes_are_those_of_the_path():
    path = reduced(printed([(10.0, 20.0, 0.2), (110.0, 20.0, 0.2), (110.0, 40.0, 0.4)]))
    packed = pack(path)
    records = np.frombuffer(base64.b64decode(packed["records"]), RECORD)
    assert len(records) == packed["count"] == len(path.points_m)
    found = np.column_stack([records[name] for name in "xyz"]) * packed["step_m"] + packed["origin_m"]
    assert found == pytest.approx(path.points_m, abs=packed["step_m"])
    assert packed["step_m"] < 3e-6
    assert records["feature"][0] == 255  # the pen is lifted to the start
    assert np.array_equal(records["line"], path.line)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_points_that_cannot_be_drawn_are_left_out(bad):
    program = printed([(10.0, 10.0, 0.2), (20.0, 10.0, 0.2), (30.0, 10.0, 0.2), (40.0, 10.0, 0.2)])
    program.columns["x_m"][2] = bad
    path = reduced(program)
    assert np.isfinite(path.points_m).all()
    assert path.points_m[:, 0].max() == pytest.approx(0.02)
    pack(path)


def test_a_program_without_moves_has_an_empty_path():
    path = reduced(build_program([{"op": Op.DWELL, "value": 1.0}]))
    assert len(path.points_m) == 0
    assert pack(path)["count"] == 0
    assert draw(path, 4e-4) is None


def test_a_purge_line_is_not_the_part_and_a_skirt_is():
    square = [(100.0, 100.0), (120.0, 100.0), (120.0, 120.0), (100.0, 120.0), (100.0, 100.0)]
    skirt = [(x + (4 if x > 110 else -4), y + (4 if y > 110 else -4), 0.2) for x, y in square]
    purge = [(0.0, 0.0, 0.2), (60.0, 0.0, 0.2), (60.0, 1.0, 0.2)]
    layers = [(x, y, z) for z in (0.2, 0.4, 0.6) for x, y in square]
    program = printed([*purge, *skirt, *layers])
    program.columns["extrude_m3"][3] = 0.0  # travel from the purge line to the skirt
    low, high = reduced(program).box_m(part=True)
    assert low == pytest.approx([0.096, 0.096, 2e-4])
    assert high == pytest.approx([0.124, 0.124, 6e-4])


def test_one_bead_is_seen_from_end_to_end():
    travel = {"op": Op.STRAIGHT_TRAVERSE, "x_m": 0.05, "y_m": 0.05, "z_m": 2e-4, "feed_m_s": 0.1}
    bead = {"op": Op.STRAIGHT_FEED, "x_m": 0.09, "y_m": 0.05, "z_m": 2e-4, "feed_m_s": 0.1, "extrude_m3": 1e-9}
    low, high = reduced(build_program([travel, bead])).box_m(part=True)
    assert (low[0], high[0]) == (0.05, 0.09)


# --- sums ---


@given(st.lists(coordinates, min_size=1, max_size=30), st.booleans())
def test_layers_keep_the_sum(points, mill):
    program = printed(points, extrude=0.0 if mill else 1.0)
    moves = classify(program, mill)
    layers = layers_of(program, moves, downwards=mill)
    column = np.arange(len(program)) + 1.0
    inside, before, after = per_layer(layers, column)
    assert inside.sum() + before + after == pytest.approx(column.sum())
    assert np.all(np.diff(layers.z_m) * (-1 if mill else 1) > 0)


def test_a_climbing_path_is_cut_into_layers_of_the_stated_height():
    turns = np.linspace(0.2, 10.2, 2000)
    points = [(50 + 10 * np.cos(6 * z), 50 + 10 * np.sin(6 * z), z) for z in turns]
    program = printed(points, layer_height_m=2e-4)
    layers = layers_of(program, classify(program, mill=False), downwards=False)
    assert len(layers.z_m) == 50


# --- features ---

TYPED = b"""\
G28
G1 X10 Y10 Z0.2 F3000
;TYPE:Skirt
G1 X20 E1 F1200
;TYPE:WALL-OUTER
G1 X30 E1
G1 X40 F3000
G1 X50 E1 F1200
"""


def test_the_slicers_features_reach_the_moves_that_they_stand_before():
    program = read_gcode(b"M83\n" + TYPED, "typed", "marlin")
    moves = classify(program, mill=False, source=b"M83\n" + TYPED)
    named = [moves.names[number] for number in moves.feature]
    by_line = dict(zip(program.columns["line"].tolist(), named, strict=True))
    assert [by_line[line] for line in (5, 7, 8, 9)] == ["Skirt", "WALL-OUTER", "travel", "WALL-OUTER"]


def test_features_are_few_and_clean():
    comments = [f";TYPE:kind {number}\x07 {'x' * 90}\nG1 X{number} E1 F1200\n".encode() for number in range(60)]
    source = b"M83\nG28\n" + b"".join(comments)
    moves = classify(read_gcode(source, "many", "marlin"), mill=False, source=source)
    assert len(moves.names) <= MAX_FEATURES + 1
    assert moves.feature.max() < 32  # the viewer's mask has 32 bits
    assert moves.names[TRAVEL] == "travel"
    assert all(len(name) <= 40 and name.isprintable() for name in moves.names)


# --- price ---


@dataclass(frozen=True)
class Parts:
    material: float = 1.0
    royalties: float = 2.5
    entropy: float = 0.0


@dataclass(frozen=True)
class Water:
    used_kg: float = 3.0
    premium: float = 9.0  # money or not: its name does not say

    @property
    def reuse_ratio(self) -> float:
        return 0.25


@dataclass(frozen=True)
class Account:
    total: Estimate
    currency: str = "EUR"
    parts: Parts = Parts()
    water: Water = Water()
    spoilt_kg: float = np.nan
    notes: tuple[str, ...] = ("Nothing is known of the weather.",)


def test_what_is_added_to_a_price_shows_up_by_itself():
    price = price_of(Account(Estimate(4.0, 3.0, 5.0)))
    assert [(part.title, part.value) for part in price.parts] == [("material", 1.0), ("royalties", 2.5), ("other", 0.5)]
    assert {group: [(fact.title, fact.unit, fact.value) for fact in facts] for group, facts in price.facts.items()} == {
        "water": [("used", "kg", 3.0), ("reuse ratio", "", 0.25)]
    }
    assert price.notes == ("Nothing is known of the weather.",)


# --- picture, text ---


def opened(png):
    """Pixels (height, width, 4) of a PNG with rows filtered by 'Up'."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    at, data = 8, b""
    while at < len(png):
        (length,), kind = struct.unpack(">I", png[at : at + 4]), png[at + 4 : at + 8]
        body = png[at + 8 : at + 8 + length]
        assert struct.unpack(">I", png[at + 8 + length : at + 12 + length])[0] == zlib.crc32(kind + body)
        if kind == b"IHDR":
            width, height = struct.unpack(">II", body[:8])
        data += body if kind == b"IDAT" else b""
        at += 12 + length
    rows = np.frombuffer(zlib.decompress(data), np.uint8).reshape(height, 1 + 4 * width)
    assert set(rows[:, 0]) == {2}
    return np.cumsum(rows[:, 1:], axis=0, dtype=np.uint8).reshape(height, width, 4)


def test_the_picture_of_a_ring_is_a_ring():
    angle = np.linspace(0.0, 2.0 * np.pi, 200)
    ring = [(50 + 20 * np.cos(a), 50 + 20 * np.sin(a), 0.2) for a in angle]
    start = {"op": Op.STRAIGHT_TRAVERSE, "x_m": 0.07, "y_m": 0.05, "z_m": 2e-4, "feed_m_s": 0.1}
    rows = [start] + [
        {
            "op": Op.STRAIGHT_FEED,
            "x_m": x * 1e-3,
            "y_m": y * 1e-3,
            "z_m": z * 1e-3,
            "extrude_m3": 1e-9,
            "feed_m_s": 0.05,
        }
        for x, y, z in ring[1:]
    ]
    pixels = opened(draw(reduced(build_program(rows)), 2e-3))
    assert pixels.shape == (HEIGHT, WIDTH, 4)
    alpha = pixels[..., 3]
    assert alpha[HEIGHT // 2, WIDTH // 2] == 0  # the hole
    assert alpha[0].max() == alpha[-1].max() == 0  # the margins
    row = np.flatnonzero(alpha[HEIGHT // 2] > 200)
    assert row.min() < 0.25 * WIDTH < 0.75 * WIDTH < row.max()
    assert np.abs(row.min() + row.max() - WIDTH) < 8  # in the middle
    assert 0.02 < (alpha > 0).mean() < 0.5


@given(st.text())
def test_text_stays_text(text):
    import html
    from html.parser import HTMLParser

    found = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attributes):
            found.append((tag, dict(attributes)))

    made = element("p", text, title=text)
    Reader().feed(made)
    assert [tag for tag, _ in found] == ["p"]
    assert html.unescape(made[made.index(">") + 1 : -4]) == text
    assert "<" not in data_block("data", {"text": text})[len('<script type="application/json" id="data">') : -9]


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_ticks_lie_on_the_axis(low, high):
    found = ticks(low, high, 6)
    assert len(found) <= 7
    if high > low and np.isfinite(high - low):
        slack = (high - low) * 1e-6
        assert all(low - slack <= tick <= high + slack for tick in found)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (400.0, "400"), (12.345, "12.3"), (0.01234, "0.0123"), (1234567.0, "1.23e+06"), (np.nan, "unknown")],
)
def test_numbers_are_short(value, text):
    assert number_text(value) == text
