"""The rules of the house, checked over the source: who imports whom, who may import rclpy, names, QoS, sizes."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
NODE_PACKAGES = sorted(path.name for path in SOURCE.glob("*_node"))
FOUNDATIONS = ("industriverse_core", "industriverse_ros", "industriverse_msgs")
OURS = {*NODE_PACKAGES, *FOUNDATIONS, "industriverse_cli", "industriverse_bringup"}
MAY_IMPORT = {
    "industriverse_core": {"industriverse_core"},
    "industriverse_ros": {"industriverse_ros", "industriverse_core", "industriverse_msgs"},
    **{name: {name, *FOUNDATIONS} for name in NODE_PACKAGES},
}
ROS_MODULES = ("node.py", "main.py")  # in node packages and the command-line tool
MAX_LINES = 500
NAMED_CALLS = {"create_publisher", "create_subscription", "create_client", "create_service", "create_long_service"}
NAMED_ACTIONS = {"ActionClient", "ActionServer"}


def modules(package: str) -> list[Path]:
    """Modules of a package, without its tests."""
    return sorted((SOURCE / package / package).rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """(top-level package, line) of every import in a file, also of those inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.split(".")[0], node.lineno
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module.split(".")[0], node.lineno


def place(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


def test_there_is_something_to_check():
    assert len(NODE_PACKAGES) >= 5
    assert all(modules(package) for package in (*NODE_PACKAGES, "industriverse_core", "industriverse_ros"))


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_packages_import_only_what_lies_below_them(package):
    wrong = [
        f"{place(path, line)} imports {name}"
        for path in modules(package)
        for name, line in imports(path)
        if name in OURS - MAY_IMPORT[package]
    ]
    assert wrong == []


@pytest.mark.parametrize("package", [*NODE_PACKAGES, "industriverse_core", "industriverse_cli"])
def test_only_node_and_main_modules_import_ros(package):
    ros = {"rclpy", "industriverse_ros", "industriverse_msgs"} if package == "industriverse_core" else {"rclpy"}
    wrong = [
        f"{place(path, line)} imports {name}"
        for path in modules(package)
        if package == "industriverse_core" or path.name not in ROS_MODULES
        for name, line in imports(path)
        if name in ros
    ]
    assert wrong == []


def own_files() -> list[Path]:
    """Every Python file of the project."""
    folders = [ROOT / name for name in ("src", "launch", "tests", "benchmarks", "examples", "tools")]
    return [ROOT / "conftest.py", ROOT / "cell", *(path for folder in folders for path in sorted(folder.rglob("*.py")))]


def test_no_file_is_long():
    long = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in own_files()}
    assert {name: lines for name, lines in long.items() if lines >= MAX_LINES} == {}


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """(name of the function, call) for every call in a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            function = node.func
            name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
            yield name, node


def test_qos_profiles_are_made_in_one_file():
    home = SOURCE / "industriverse_ros" / "industriverse_ros" / "qos.py"
    makers = {name for name, _ in calls(home)}
    assert "QoSProfile" in makers
    wrong = [
        place(path, call.lineno)
        for path in own_files()
        if path != home
        for name, call in calls(path)
        if name == "QoSProfile"
    ]
    assert wrong == []


def spelled_name(name: str, call: ast.Call) -> ast.expr | None:
    """The argument that names a topic, service or action, when it is written out on the spot."""
    position = {**dict.fromkeys(NAMED_CALLS, 1), **dict.fromkeys(NAMED_ACTIONS, 2)}.get(name)
    if position is None:
        return None
    keywords = [item.value for item in call.keywords if item.arg in ("topic", "srv_name", "action_name", "name")]
    arguments = call.args[position : position + 1] + keywords
    return next((item for item in arguments if isinstance(item, (ast.Constant, ast.JoinedStr, ast.BinOp))), None)


def test_no_module_spells_a_topic_service_or_action():
    wrong = [
        place(path, call.lineno)
        for package in (*NODE_PACKAGES, "industriverse_ros", "industriverse_cli")
        for path in modules(package)
        for name, call in calls(path)
        if spelled_name(name, call) is not None
    ]
    assert wrong == []


def test_the_spelling_check_finds_what_it_looks_for():
    samples = {
        "node.create_publisher(Msg, 'topic', qos.EVENT)": True,
        "self.create_subscription(Msg, f'{x}/topic', f, 5)": True,
        "self.create_client(Srv, srv_name='a')": True,
        "ActionClient(node, Action, 'a/b')": True,
        "self.create_publisher(Msg, names.PERMIT, qos.EVENT)": False,
        "self.create_subscription(Msg, names.permit(machine), f, qos.PERMIT)": False,
    }
    for text, expected in samples.items():
        call = ast.parse(text).body[0].value
        name = call.func.attr if isinstance(call.func, ast.Attribute) else call.func.id
        assert (spelled_name(name, call) is not None) == expected, text
