"""The machine as MJCF and URDF: MuJoCo loads both, frames and joints are those of the cell, masses add up."""

import xml.etree.ElementTree as ET

import mujoco
import numpy as np
import pytest

from industriverse_core.errors import ErrorCode, PredictionError
from industriverse_core.machine import Box, load_machine, machine_names
from twin_node.body.mechanics import CHAINS, GRAVITY_M_S2, mechanics
from twin_node.body.model import cutters, mjcf, urdf

MACHINES = machine_names()


def variant(profile, structure=None, **axes):
    """The profile with another structure, and other fields of some axes."""
    kinematics = profile.kinematics
    changes = {letter: getattr(kinematics, letter).model_copy(update=fields) for letter, fields in axes.items()}
    if structure is not None:
        changes["structure"] = structure
        for letter in "xyz":
            axis = changes.get(letter, getattr(kinematics, letter))
            changes[letter] = axis if letter in axes else axis.model_copy(update={"moving_mass": None})
    return profile.model_copy(update={"kinematics": kinematics.model_copy(update=changes)})


def loaded(profile):
    return mujoco.MjModel.from_xml_string(mjcf(profile, 1e-3, "Euler"))


def tool_in_base(model, profile, place):
    """Where the tool's tip is in the base's frame when the joints stand at x, y, z."""
    data = mujoco.MjData(model)
    for letter, value in zip("xyz", place, strict=True):
        data.joint(f"{profile.id}_{letter}").qpos[0] = value
    mujoco.mj_forward(model, data)
    base = data.body(f"{profile.id}_base")
    return base.xmat.reshape(3, 3).T @ (data.body(f"{profile.id}_tool").xpos - base.xpos)


@pytest.mark.parametrize("name", MACHINES)
def test_the_tool_stands_in_the_base_where_the_joints_say(name):
    profile = load_machine(name)
    np.testing.assert_allclose(tool_in_base(loaded(profile), profile, (0.11, 0.07, 0.013)), (0.11, 0.07, 0.013))


@pytest.mark.parametrize("structure", CHAINS)
@pytest.mark.parametrize("name", ["prusa_mk3s", "grbl_mill"])
def test_every_structure_puts_the_tool_at_program_coordinates(name, structure):
    profile = variant(load_machine(name), structure)
    np.testing.assert_allclose(tool_in_base(loaded(profile), profile, (0.02, 0.05, -0.01)), (0.02, 0.05, -0.01))


@pytest.mark.parametrize("name", MACHINES)
def test_the_urdf_is_one_tree_from_base_to_tool_with_the_joints_of_joint_states(name):
    profile = load_machine(name)
    root = ET.fromstring(urdf(profile))
    links = [link.get("name") for link in root.iter("link")]
    parents = {joint.find("child").get("link"): joint.find("parent").get("link") for joint in root.iter("joint")}
    assert set(links) - set(parents) == {f"{name}_base"}
    place, steps = f"{name}_tool", 0
    while place in parents:
        place, steps = parents[place], steps + 1
    assert (place, steps) == (f"{name}_base", 4)
    slides = [joint for joint in root.iter("joint") if joint.get("type") == "prismatic"]
    assert sorted(joint.get("name") for joint in slides) == [f"{name}_{letter}" for letter in "xyz"]
    for joint in slides:
        axis = getattr(profile.kinematics, joint.get("name")[-1])
        limit = {key: float(value) for key, value in joint.find("limit").attrib.items()}
        assert (limit["lower"], limit["upper"]) == pytest.approx((axis.minimum, axis.maximum))
        assert limit["velocity"] == pytest.approx(axis.max_speed)
        assert limit["effort"] > 0


@pytest.mark.parametrize("name", MACHINES)
def test_mujoco_moves_the_urdf_to_program_coordinates(name):
    model = mujoco.MjModel.from_xml_string(urdf(load_machine(name)))
    data = mujoco.MjData(model)
    for letter, value in zip("xyz", (0.03, 0.02, 0.01), strict=True):
        data.joint(f"{name}_{letter}").qpos[0] = value
    mujoco.mj_forward(model, data)
    np.testing.assert_allclose(data.xpos[-1], (0.03, 0.02, 0.01))


@pytest.mark.parametrize("name", MACHINES)
def test_each_axis_feels_the_mass_that_the_profile_states(name):
    profile = load_machine(name)
    model = loaded(profile)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    inertia = np.zeros((3, 3))
    mujoco.mj_fullM(model, data, inertia)
    for letter, axis in zip("xyz", profile.kinematics.axes(), strict=True):
        address = model.joint(f"{name}_{letter}").dofadr[0]
        assert inertia[address, address] == pytest.approx(axis.moving_mass)
        assert data.qfrc_bias[address] == pytest.approx(mechanics(profile).axis(letter).weight_n, rel=1e-3)


def test_a_bed_that_moves_in_z_is_held_against_the_axis():
    machine = mechanics(variant(load_machine("prusa_mk3s"), "corexy"))
    assert machine.axis("z").weight_n == pytest.approx(-1.0 * GRAVITY_M_S2)
    assert machine.axis("y").moving_mass_kg > machine.axis("x").moving_mass_kg


def test_crossed_belts_pull_with_both_motors():
    profile = load_machine("voron_24")
    model = loaded(profile)
    assert [model.actuator(number).name for number in range(3)] == ["voron_24_z_motor", "belt_a_motor", "belt_b_motor"]
    data = mujoco.MjData(model)
    data.joint("voron_24_x").qpos[0], data.joint("voron_24_y").qpos[0] = 0.03, 0.01
    mujoco.mj_forward(model, data)
    np.testing.assert_allclose(data.actuator_length[1:], (0.04, 0.02))


def test_an_open_keep_out_ends_beyond_the_axes_and_odd_names_do_no_harm():
    clamp = Box.model_validate({"name": '<clamp & "x">', "x_minimum": "250 mm"})
    profile = load_machine("prusa_mk3s").model_copy(update={"keep_out": (clamp,)})
    model = loaded(profile)
    low = model.geom("keep_out_0").pos - model.geom("keep_out_0").size
    high = model.geom("keep_out_0").pos + model.geom("keep_out_0").size
    np.testing.assert_allclose(low, (0.25, -0.104, -0.1))
    np.testing.assert_allclose(high, (0.355, 0.3125, 0.31))
    assert mujoco.MjModel.from_xml_string(urdf(profile)).njnt == 3


def test_a_mills_tools_have_their_width_and_reach_up():
    tools = {cutter.number: cutter for cutter in cutters(load_machine("grbl_mill"))}
    assert {number: tool.radius_m for number, tool in tools.items()} == pytest.approx({1: 1.5875e-3, 2: 1e-3, 3: 3e-3})
    assert min(tool.length_m for tool in tools.values()) > 0.085


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        ({"x": {"moving_mass": 2.0}}, "z carries x"),
        ({"y": {"resonance": 400.0}}, "y.resonance is 400 Hz"),
    ],
)
def test_what_cannot_be_a_machine_is_refused(axes, said):
    with pytest.raises(PredictionError, match=said) as refused:
        mjcf(variant(load_machine("prusa_mk3s"), **axes), 1e-3, "Euler")
    assert refused.value.code is ErrorCode.NO_BODY
