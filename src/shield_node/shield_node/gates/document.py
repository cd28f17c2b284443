"""Writes docs/gates.md from the registry: python -m shield_node.gates.document [FILE]."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

from shield_node.gates.registry import MAX_FINDINGS, MAX_PER_RULE, Rule, rules

DEFAULT_PATH = Path("docs/gates.md")
HEAD = f"""# The gates

Every program passes these rules before it may be armed. An *error* refuses the program, a *warning* is shown, a
*note* informs. A report lists at most {MAX_FINDINGS} findings, {MAX_PER_RULE} of one rule, the worst first, and
counts all.

This page is generated: `python -m shield_node.gates.document` writes it. A new rule is one function in a
`src/shield_node/shield_node/gates/rules_*.py` and its test:

```python
@rule("dwell.endless", "A dwell is not negative and lasts at most ten minutes.")
def dwell(context: Context) -> Iterator[Hits]:
    where = np.flatnonzero(context.is_op(Op.DWELL) & ~(context.program.value <= 600.0))  # NaN is refused
    yield Hits(Severity.ERROR, where, lambda i: Seen("a dwell of ...; at most 600 s are allowed.", "Shorten it."))
```
"""


def document() -> str:
    """The whole page."""
    everything = rules()
    table = ["| rule | what it demands |", "|---|---|"]
    table += [f"| [`{each.id}`](#{each.id.replace('.', '')}) | {each.sentence} |" for each in everything]
    return "\n".join([HEAD, *table, "", *(_section(each) for each in everything)])


def _section(each: Rule) -> str:
    detail = inspect.getdoc(each.function) or ""
    paragraphs = [" ".join(paragraph.split()) for paragraph in detail.split("\n\n")]
    return "\n\n".join([f"## {each.id}", each.sentence, *paragraphs]) + "\n"


if __name__ == "__main__":
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_PATH
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document())
