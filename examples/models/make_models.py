#!/usr/bin/env python3
"""Write the STL files of the two example parts, after checking that each mesh is closed and has the right volume.

    python3 make_models.py FOLDER

Each part is a flat band: an outer and an inner chain of points of the same length, joined point by point and
extruded upwards. A closed band is a ring (washer), an open one a clip. Needs numpy only.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

STL_UNIT_M = 1e-3  # slicers read STL files in millimetres
VOLUME_TOLERANCE = 1e-9  # relative; the formulas below are exact for the polygons, so only rounding remains


@dataclass(frozen=True, slots=True)
class Band:
    """A plane figure between two chains of points that are joined point by point.

    Attributes:
        outer_m: shape (n, 2) [m]; walked so that the material lies on the left.
        inner_m: shape (n, 2) [m]; the partner of each outer point.
        closed: True for a ring, False for a strip with two ends.
    """

    outer_m: np.ndarray
    inner_m: np.ndarray
    closed: bool


@dataclass(frozen=True, slots=True)
class Mesh:
    """Triangles over shared vertices.

    Attributes:
        vertices_m: shape (v, 3) [m].
        faces: shape (f, 3), indices of vertices, counter-clockwise seen from outside.
    """

    vertices_m: np.ndarray
    faces: np.ndarray


@dataclass(frozen=True, slots=True)
class Washer:
    """A flat ring. The default is seven layers high: 0.2 mm and six of 0.3 mm."""

    outer_diameter_m: float = 14e-3
    inner_diameter_m: float = 6e-3
    height_m: float = 2e-3
    segments: int = 96  # of the whole circle

    def band(self) -> Band:
        """The ring seen from above, centred on the origin."""
        angle = 2.0 * math.pi * np.arange(self.segments) / self.segments
        circle = np.column_stack([np.cos(angle), np.sin(angle)])
        return Band(0.5 * self.outer_diameter_m * circle, 0.5 * self.inner_diameter_m * circle, closed=True)

    def volume_m3(self) -> float:
        """Exact volume [m^3]: a regular polygon of n corners on radius r has the area n/2 r^2 sin(2 pi / n)."""
        difference_m2 = (0.5 * self.outer_diameter_m) ** 2 - (0.5 * self.inner_diameter_m) ** 2
        return 0.5 * self.segments * math.sin(2.0 * math.pi / self.segments) * difference_m2 * self.height_m


@dataclass(frozen=True, slots=True)
class CableClip:
    """A C-shaped clip with two snap noses: holds two 6 mm cables. The default is 13 layers high."""

    length_m: float = 16e-3
    width_m: float = 10e-3
    wall_m: float = 2e-3
    nose_length_m: float = 3e-3
    nose_depth_m: float = 1e-3  # how far each nose narrows the mouth
    height_m: float = 3.8e-3
    segments: int = 48  # of the half circle

    def band(self) -> Band:
        """The C seen from above: upper arm from its tip, half circle about the origin, lower arm to its tip."""
        angle = 0.5 * math.pi + math.pi * np.arange(self.segments + 1) / self.segments
        arc = np.column_stack([np.cos(angle), np.sin(angle)])
        outer_radius = 0.5 * self.width_m
        inner_radius = outer_radius - self.wall_m
        tip = self.length_m - outer_radius
        along = np.array([tip, tip - 0.5 * self.nose_length_m, tip - self.nose_length_m])
        nose = np.array([0.0, self.nose_depth_m, 0.0])
        outer_arm = np.column_stack([along, np.full(3, outer_radius)])
        inner_arm = np.column_stack([along, inner_radius - nose])
        mirror = np.array([1.0, -1.0])
        outer = np.vstack([outer_arm, outer_radius * arc, (outer_arm * mirror)[::-1]])
        inner = np.vstack([inner_arm, inner_radius * arc, (inner_arm * mirror)[::-1]])
        return Band(outer, inner, closed=False)

    def volume_m3(self) -> float:
        """Exact volume [m^3]: polygonal half ring, two straight arms, two triangular noses."""
        outer_radius = 0.5 * self.width_m
        inner_radius = outer_radius - self.wall_m
        half_ring = 0.5 * self.segments * math.sin(math.pi / self.segments) * (outer_radius**2 - inner_radius**2)
        arms = 2.0 * (self.length_m - outer_radius) * self.wall_m
        noses = self.nose_length_m * self.nose_depth_m
        return (half_ring + arms + noses) * self.height_m


Part = Washer | CableClip
PARTS: dict[str, Part] = {"cable_clip": CableClip(), "washer": Washer()}


def extrude(band: Band, height_m: float) -> Mesh:
    """The solid of a band between z = 0 and `height_m`."""
    count = len(band.outer_m)
    plan = np.vstack([band.outer_m, band.inner_m])
    low = np.column_stack([plan, np.zeros(2 * count)])
    high = np.column_stack([plan, np.full(2 * count, height_m)])
    here = np.arange(count if band.closed else count - 1)
    there = (here + 1) % count
    low_outer, low_inner, high_outer, high_inner = (np.arange(count) + block * count for block in range(4))
    quads = [
        np.column_stack([high_outer[here], high_outer[there], high_inner[there], high_inner[here]]),
        np.column_stack([low_outer[here], low_inner[here], low_inner[there], low_outer[there]]),
        np.column_stack([low_outer[here], low_outer[there], high_outer[there], high_outer[here]]),
        np.column_stack([low_inner[there], low_inner[here], high_inner[here], high_inner[there]]),
    ]
    if not band.closed:
        quads.append(np.array([[low_outer[0], high_outer[0], high_inner[0], low_inner[0]]]))
        quads.append(np.array([[low_outer[-1], low_inner[-1], high_inner[-1], high_outer[-1]]]))
    corners = np.vstack(quads)
    return Mesh(np.vstack([low, high]), np.vstack([corners[:, [0, 1, 2]], corners[:, [0, 2, 3]]]))


def is_watertight(mesh: Mesh) -> bool:
    """True when every edge belongs to exactly two triangles that run along it in opposite directions."""
    edges = np.vstack([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]])
    directed = {(int(start), int(end)) for start, end in edges}
    return len(directed) == len(edges) and all((end, start) in directed for start, end in directed)


def volume_m3(mesh: Mesh) -> float:
    """Enclosed volume [m^3], positive when the normals point outwards (sum of signed tetrahedra)."""
    a, b, c = (mesh.vertices_m[mesh.faces[:, corner]] for corner in range(3))
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6.0)


def make_mesh(part: Part) -> Mesh:
    """The checked mesh of a part. Raises ValueError when it is open or its volume is not the formula's."""
    mesh = extrude(part.band(), part.height_m)
    if not is_watertight(mesh):
        raise ValueError(f"{part}: the mesh is not watertight")
    found, wanted = volume_m3(mesh), part.volume_m3()
    if not math.isclose(found, wanted, rel_tol=VOLUME_TOLERANCE):
        raise ValueError(f"{part}: the mesh encloses {found:.6e} m^3, the formula gives {wanted:.6e} m^3")
    return mesh


def stl_bytes(mesh: Mesh) -> bytes:
    """The mesh as a binary STL file in millimetres."""
    triangles = mesh.vertices_m[mesh.faces] / STL_UNIT_M
    normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    record = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    records = np.zeros(len(triangles), record)
    records["normal"], records["corners"] = normals, triangles
    return b"industriverse example part".ljust(80) + np.uint32(len(records)).tobytes() + records.tobytes()


def main(arguments: list[str]) -> int:
    """Write FOLDER/<part>.stl for each part; returns the exit status."""
    parser = argparse.ArgumentParser(description="Write the STL files of the example parts.")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where the files go; made if absent")
    folder: Path = parser.parse_args(arguments).folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, part in PARTS.items():
            mesh = make_mesh(part)
            path = folder / f"{name}.stl"
            path.write_bytes(stl_bytes(mesh))
            print(f"{path}: {len(mesh.faces)} triangles, {volume_m3(mesh) * 1e9:.2f} mm^3")
    except OSError as error:
        print(f"make_models.py: {folder}: {error.strerror}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
