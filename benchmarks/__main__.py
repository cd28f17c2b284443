"""Run benchmarks by name (all without a name); one JSON line a result."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pkgutil
import platform
import sys

import benchmarks


def main() -> int:
    names = sorted(item.name for item in pkgutil.iter_modules(benchmarks.__path__) if not item.name.startswith("_"))
    parser = argparse.ArgumentParser(prog="./cell bench", description="Benchmarks; one JSON line a result.")
    parser.add_argument("names", nargs="*", choices=[[], *names], metavar="NAME", help=", ".join(names))
    chosen = parser.parse_args().names or names
    machine = {"cores": os.cpu_count(), "load_1min": round(os.getloadavg()[0], 2), "python": platform.python_version()}
    for name in chosen:
        for result in importlib.import_module(f"benchmarks.{name}").run():
            print(json.dumps({"benchmark": name, **result, **machine}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
