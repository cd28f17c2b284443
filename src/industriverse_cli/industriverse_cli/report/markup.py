"""HTML that is safe by construction: whatever is not an element made here is text and gets escaped."""

from __future__ import annotations

import html
import json
import re
from typing import Any

from industriverse_cli.output import plain

VOID = frozenset({"meta", "br", "img", "input", "line", "path", "circle", "stop", "polyline"})
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]*\Z")


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def escaped(value: object) -> Markup:
    """Any value as HTML text or attribute value; Markup stays as it is."""
    return value if isinstance(value, Markup) else Markup(html.escape(str(value), quote=True))


def element(name: str, /, *children: object, **attributes: object) -> Markup:
    """One element. None among children or attributes is left out; True makes an attribute without a value.

    Attribute names: a trailing underscore is dropped, others become hyphens (`class_`, `aria_label`, `stroke_width`).
    """
    written = []
    for key, value in attributes.items():
        attribute = key.rstrip("_").replace("_", "-")
        if not _NAME.match(attribute):
            raise ValueError(f"not an attribute name: {attribute!r}")
        if value is True:
            written.append(f" {attribute}")
        elif value is not None and value is not False:
            written.append(f' {attribute}="{escaped(value)}"')
    start = f"<{name}{''.join(written)}>"
    if name in VOID:
        return Markup(start[:-1] + "/>")
    return Markup(f"{start}{join(*children)}</{name}>")


def join(*children: object) -> Markup:
    """Children one after the other; lists are opened, None is left out."""
    parts: list[str] = []
    for child in children:
        if isinstance(child, (list, tuple)):
            parts.append(join(*child))
        elif child is not None:
            parts.append(escaped(child))
    return Markup("".join(parts))


def data_block(identifier: str, value: Any) -> Markup:
    """A JSON value for the page's scripts; no text in it can end the block."""
    text = json.dumps(plain(value), allow_nan=False, ensure_ascii=True, separators=(",", ":"))
    safe = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return Markup(f'<script type="application/json" id="{escaped(identifier)}">{safe}</script>')


def table(heads: list[str], rows: list[list[object]], caption: str, numbers: frozenset[int] = frozenset()) -> Markup:
    """A real table with a caption for screen readers; columns in `numbers` are aligned as numbers.

    The first cell of each row is its header.
    """

    def place(column: int) -> str | None:
        return "number" if column in numbers else None

    head = [element("th", text, scope="col", class_=place(column)) for column, text in enumerate(heads)]
    body = [
        element(
            "tr",
            [
                element("th", cell, scope="row", class_=place(column))
                if column == 0
                else element("td", cell, class_=place(column), data_label=heads[column])
                for column, cell in enumerate(row)
            ],
        )
        for row in rows
    ]
    return element(
        "table",
        element("caption", caption, class_="unseen"),
        element("thead", element("tr", head)),
        element("tbody", body),
    )


def section(identifier: str, title: str, *children: object, note: str | None = None) -> Markup:
    """A titled part of the page."""
    return element(
        "section",
        element("h2", title),
        element("p", note, class_="note") if note else None,
        *children,
        id=identifier,
    )
