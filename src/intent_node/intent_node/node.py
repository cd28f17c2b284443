"""intent_node: words and files to checked-in programs. Converts, calls the compiler, answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from industriverse_core.errors import ErrorCode, JobError, ProfileError
from industriverse_core.machine import load_machine
from industriverse_core.material import material_names, resolve_material
from industriverse_core.program import renamed
from industriverse_core.store import ProgramStore
from industriverse_msgs.srv import CompileIntent
from industriverse_ros import convert, names
from industriverse_ros.node import CellNode, run
from industriverse_ros.params import param
from intent_node.compiler import understand
from intent_node.folder import ProgramFolder


@dataclass(frozen=True, slots=True)
class IntentParams:
    """Parameters of intent_node."""

    cell_dir: str = param("", "data folder of the cell")
    machine: str = param("prusa_mk3s", "machine profile, by name or YAML path")
    programs_dir: str = param("", "folder of program files that a sentence can name; empty = only paths")


class IntentNode(CellNode):
    """Answers compile_intent."""

    Params = IntentParams

    def __init__(self, **options: Any) -> None:
        super().__init__("intent", **options)
        self._asked = self._compiled = 0

    def setup(self) -> None:
        """Look at the folder of programs and offer the service."""
        self._profile = load_machine(self.params.machine)
        self._store = ProgramStore(self.cell_paths().programs)
        folder = Path(self.params.programs_dir).absolute() if self.params.programs_dir else None
        if folder is not None and not folder.is_dir():
            seen = f"intent: parameter 'programs_dir' is '{folder}', which is no folder."
            raise ProfileError(ErrorCode.BAD_PARAMETER, seen, "Name a folder with program files, or none.")
        self._folder = ProgramFolder(folder, tuple(material_names()), self._profile.controller)
        self.create_long_service(CompileIntent, names.COMPILE_INTENT, self._compile)

    def health(self) -> tuple[bytes, str, dict[str, object]]:
        """How often it was asked, and how often it had an answer."""
        level, message, _ = super().health()
        return level, message, {"asked": self._asked, "compiled": self._compiled}

    def _compile(self, request: CompileIntent.Request, response: CompileIntent.Response) -> None:
        self._asked += 1
        if request.machine_id not in ("", self._profile.id):
            seen = f"This cell has no machine '{request.machine_id[:64]}'."
            raise ProfileError(ErrorCode.UNKNOWN_MACHINE, seen, f"It has '{self._profile.id}'.")
        catalogue = self._folder.catalogue()
        understood = understand(request.intent, catalogue, self._folder.material_of, request.material)
        material = resolve_material(understood.material, self._profile.kind)
        program = renamed(self._folder.load(understood.path), understood.path.stem)
        try:
            response.program = convert.ref_to_msg(self._store.add(program))
        except OSError as error:
            seen = f"{self._store.directory}: the program cannot be stored ({error.strerror})."
            raise JobError(ErrorCode.STORE_UNAVAILABLE, seen, "Check the folder and the disk's free space.") from error
        response.material = material.id
        response.quantity = understood.quantity
        response.understood = understood.sentence
        self._compiled += 1


def main() -> None:
    """Entry point."""
    run(IntentNode)


if __name__ == "__main__":
    main()
