"""The rviz configuration of a cell: the one that ships, with the cell's and its machine's names in the topics."""

from __future__ import annotations

from pathlib import Path

from industriverse_core.files import replace_file

SHIPPED = "/demo/prusa_mk3s/"  # begins the topics in rviz/cell.rviz
FILE = "cell.rviz"


def rviz_file() -> Path:
    """The configuration that ships: beside this package in the source tree, else in the installed share folder."""
    source = Path(__file__).parents[1] / "rviz" / FILE
    if source.exists():
        return source
    from ament_index_python.packages import get_package_share_directory

    return Path(get_package_share_directory("industriverse_bringup")) / "rviz" / FILE


def config_for(shipped: str, cell_id: str, machine_id: str) -> str:
    """The configuration for another cell and machine."""
    return shipped.replace(SHIPPED, f"/{cell_id}/{machine_id}/")


def write_config(cell_id: str, machine_id: str, folder: Path) -> Path:
    """Write a cell's configuration into its data folder; the file's path."""
    path = folder / FILE
    replace_file(path, config_for(rviz_file().read_text(), cell_id, machine_id).encode())
    return path


def is_installed() -> bool:
    """Whether there is an rviz2 here."""
    from ament_index_python.packages import PackageNotFoundError, get_package_prefix

    try:
        get_package_prefix("rviz2")
    except PackageNotFoundError:
        return False
    return True
