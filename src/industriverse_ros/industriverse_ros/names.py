"""Every topic, service and action name, relative to the cell's namespace. Nothing else spells a name."""

from __future__ import annotations

# one for the cell
STOP_REQUEST = "stop_request"  # StopRequest, EVENT, anyone -> shield, machine
JOB_STATE = "job_state"  # JobState, EVENT, conductor -> all
PERSONS = "persons"  # PersonsSeen, SENSOR, cameras and scanners -> shield

COMPILE_INTENT = "compile_intent"  # intent_node
CHECK_PROGRAM = "check_program"  # shield_node
ARM_PROGRAM = "arm_program"  # shield_node
CLEAR_STOP = "clear_stop"  # shield_node
PREDICT = "predict"  # twin_node
PRICE = "price"  # twin_node
CLOSE_LEDGER = "close_ledger"  # twin_node
FORECAST = "forecast"  # twin_node
SUBMIT_JOB = "submit_job"  # conductor_node
LIST_JOBS = "list_jobs"  # conductor_node
RUN_JOB = "run_job"  # conductor_node (action)

DIAGNOSTICS = "/diagnostics"  # the ROS convention; absolute on purpose
CLOCK = "/clock"  # the ROS convention; physics time of a simulated cell
TF = "/tf"  # the ROS convention; tf2_msgs/TFMessage
TF_STATIC = "/tf_static"  # the ROS convention; frames that do not move


def permit(machine_id: str) -> str:
    """MotionPermit, PERMIT, shield -> machine."""
    return f"{machine_id}/permit"


def telemetry(machine_id: str) -> str:
    """MachineTelemetry, SENSOR, machine -> all."""
    return f"{machine_id}/telemetry"


def joint_states(machine_id: str) -> str:
    """sensor_msgs/JointState, SENSOR, machine -> all."""
    return f"{machine_id}/joint_states"


def expected_joint_states(machine_id: str) -> str:
    """sensor_msgs/JointState, SENSOR, twin -> all. Joints as in joint_states, effort in N."""
    return f"{machine_id}/expected_joint_states"


def power(machine_id: str) -> str:
    """PowerReading, SENSOR, machine -> all."""
    return f"{machine_id}/power"


def vibration(machine_id: str) -> str:
    """VibrationFeatures, SENSOR, telemetry hub -> all."""
    return f"{machine_id}/vibration"


def execution_trace(machine_id: str) -> str:
    """ExecutionTrace, EVENT, machine -> all."""
    return f"{machine_id}/execution_trace"


def safety_state(machine_id: str) -> str:
    """SafetyState, STATE, shield -> all."""
    return f"{machine_id}/safety_state"


def residual(machine_id: str) -> str:
    """Residual, SENSOR, twin -> all."""
    return f"{machine_id}/residual"


def execute_program(machine_id: str) -> str:
    """ExecuteProgram (action), conductor -> machine."""
    return f"{machine_id}/execute_program"


def decision(machine_id: str) -> str:
    """Decision, SENSOR, shield -> all."""
    return f"{machine_id}/decision"


def markers(machine_id: str) -> str:
    """visualization_msgs/MarkerArray, STATE, twin (path, energy) and shield (zones, stop) -> rviz."""
    return f"{machine_id}/markers"


def robot_description(machine_id: str) -> str:
    """std_msgs/String, STATE, twin -> rviz: the machine's body as URDF."""
    return f"{machine_id}/robot_description"
