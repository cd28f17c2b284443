"""Words to one program file, a number of copies and a material; or a refusal that says what can be done.

Every word of a sentence must be accounted for: the name of a program, a number, a material, or one of the few
words below. Anything else (without, faster, not, tomorrow) may change the meaning and is refused. No I/O here:
the caller gives the catalogue, and a function that says what a file was sliced in.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from industriverse_core.errors import ErrorCode, InputError
from industriverse_core.files import PROGRAM_ENDINGS
from industriverse_core.states import MAX_COPIES

MAX_SENTENCE = 300  # characters
MAX_NAME_TOKENS = 12
SHOWN = 8  # programs that a refusal names
_NUMBER_WORDS = "zero one two three four five six seven eight nine ten eleven twelve"
NUMBERS = {word: value for value, word in enumerate(_NUMBER_WORDS.split())}
ARTICLES = frozenset({"a", "an"})
_WORDS = (
    "make print mill produce manufacture build run need want could can you i we me us please the of for made out"
    " copy copies piece pieces part parts pcs times x × material filament plastic"
)
WORDS = frozenset(_WORDS.split())
BEFORE_MATERIAL = frozenset({"in", "from", "with", "using"})  # a material has to follow
_WORD = re.compile(r"[^\W_]+(?:[_\-.][^\W_]+)*")
_COUNT = re.compile(r"[x×]?([0-9]+)|([0-9]+)[x×]")
_TOKEN = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class Entry:
    """One program file that a sentence can name."""

    path: Path

    @property
    def name(self) -> str:
        """The file name without its ending."""
        return self.path.stem


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What a sentence can be about: the program files of a folder, and the known materials."""

    folder: Path | None
    entries: tuple[Entry, ...]
    materials: tuple[str, ...]

    def material(self, word: str) -> str:
        """A material's name as it is written properly; an unknown one stays as it is."""
        return next((name for name in self.materials if name.casefold() == word.casefold()), word)


@dataclass(frozen=True, slots=True)
class Understood:
    """One file, so many copies of it, in a material ("" = not stated anywhere), in plain words."""

    path: Path
    quantity: int
    material: str
    sentence: str


MaterialOf = Callable[[Path], str]


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    word: int  # which word of the sentence
    whole: bool  # it is the whole word
    before_material: bool = False  # the next token is a material


@dataclass(frozen=True, slots=True)
class _Reading:
    """One way to read a sentence."""

    key: str
    suffix: str
    quantity: int
    needs_number: bool  # plural without a number


def understand(text: str, catalogue: Catalogue, material_of: MaterialOf, asked_material: str = "") -> Understood:
    """What a text asks for.

    Args:
        text: the path of a program file, or a short sentence.
        catalogue: files and materials that can be named.
        material_of: material that the file at a path was sliced in, "" = not stated. May raise CoreError.
        asked_material: a material asked for beside the text, "" = none.

    Raises InputError (INTENT_NOT_UNDERSTOOD); what `material_of` raises passes through.
    """
    text = _readable(text, catalogue)
    asked = _known_material(asked_material, catalogue) if asked_material else ""
    path = _as_path(text, catalogue)
    if path is not None:
        sliced = catalogue.material(material_of(path))
        if asked and sliced and asked != sliced:
            raise refusal(f"{path.name} was sliced in {sliced}; {asked} was asked for.", catalogue, path.stem)
        return _understood(path, 1, sliced or asked)
    if len(text) > MAX_SENTENCE:
        raise refusal(f"The sentence has {len(text)} characters; {MAX_SENTENCE} are read.", catalogue)
    tokens, materials = _without_materials(_tokens(text, catalogue), catalogue)
    reading = _only_reading(text, tokens, catalogue)
    if asked:
        materials.add(asked)
    if len(materials) > 1:
        names = " and ".join(sorted(materials))
        raise refusal(f"The materials {names} are asked for at once.", catalogue, text)
    variants = [entry for entry in catalogue.entries if _key(entry.name, catalogue) == reading.key]
    variants = [entry for entry in variants if not reading.suffix or entry.path.suffix.lower() == reading.suffix]
    entry, material = _variant(variants, "".join(materials), catalogue, material_of)
    return _understood(entry.path, reading.quantity, material)


def refusal(why: str, catalogue: Catalogue, near: str = "") -> InputError:
    """A refusal with its reason, what can be said instead, and the known programs, nearest first."""
    names = sorted({entry.name for entry in catalogue.entries})
    near = near.casefold()
    names.sort(key=lambda name: -difflib.SequenceMatcher(None, near, name.casefold()).ratio())
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    known = f"Known programs: {', '.join(names[:SHOWN])}{more}." if names else "The folder of programs is empty."
    example = names[0] if names else "cable_clip"
    remedy = (
        "Say the path of a program file, or a known program with a number and a material, "
        f"like 'make 2 {example}'. {known} Materials: {', '.join(catalogue.materials)}."
    )
    return InputError(ErrorCode.INTENT_NOT_UNDERSTOOD, why, remedy)


def _understood(path: Path, quantity: int, material: str) -> Understood:
    copies = "1 copy" if quantity == 1 else f"{quantity} copies"
    return Understood(path, quantity, material, f"{copies} of {path.name}" + (f" in {material}" if material else ""))


def _readable(text: str, catalogue: Catalogue) -> str:
    """The text without white space around it. Control and unassigned characters are refused."""
    stripped = text.strip()
    if not stripped:
        raise refusal("The intent is empty.", catalogue)
    for index, character in enumerate(stripped):
        if unicodedata.category(character).startswith("C"):
            raise refusal(f"Character {index + 1} is a control character (U+{ord(character):04X}).", catalogue)
    return stripped


def _known_material(word: str, catalogue: Catalogue) -> str:
    material = catalogue.material(word.strip())
    if material not in catalogue.materials:
        raise refusal(f"There is no material '{word[:64]}'.", catalogue)
    return material


def _as_path(text: str, catalogue: Catalogue) -> Path | None:
    """The path that a text is, or None for a sentence."""
    if text.startswith("/"):
        return Path(text)
    named = next((entry.path for entry in catalogue.entries if entry.path.name == text), None)
    if named is not None:
        return named
    parts = PurePosixPath(text).parts
    if "/" in text and catalogue.folder is not None and ".." not in parts and text.lower().endswith(PROGRAM_ENDINGS):
        return catalogue.folder / text
    if "/" in text:
        raise refusal(f"'{text[:MAX_SENTENCE]}' is neither a sentence nor a path below the program folder.", catalogue)
    return None


# --- sentences ------------------------------------------------------------------------------------------


def _tokens(text: str, catalogue: Catalogue) -> list[_Token]:
    tokens = []
    for index, written in enumerate(text.casefold().replace(",", " ").split()):
        word = written.strip("'\"‘’“”").rstrip(".!?;:").strip("'\"‘’“”")
        if not _WORD.fullmatch(word) and word != "×":
            raise refusal(f"'{written}' is not understood.", catalogue, text)
        parts = _TOKEN.findall(word) or [word]
        tokens += [_Token(part, index, len(parts) == 1) for part in parts]
    return tokens


def _without_materials(tokens: list[_Token], catalogue: Catalogue) -> tuple[list[_Token], set[str]]:
    known = {name.casefold(): name for name in catalogue.materials}
    named = {known[token.text] for token in tokens if token.text in known}
    following = [token.text in known for token in tokens[1:]] + [False]
    marked = [replace(token, before_material=after) for token, after in zip(tokens, following, strict=True)]
    return [token for token in marked if token.text not in known], named


def _key(name: str, catalogue: Catalogue) -> str:
    """A name without spaces, underscores, hyphens, case and material words."""
    materials = {material.casefold() for material in catalogue.materials}
    return "".join(part for part in _TOKEN.findall(name.casefold()) if part not in materials)


def _singulars(word: str) -> set[str]:
    """What a plural may be the plural of."""
    found = set()
    if word.endswith("ies"):
        found.add(word[:-3] + "y")
    if word.endswith(("ses", "xes", "zes", "ches", "shes")):
        found.add(word[:-2])
    if word.endswith("s") and not word.endswith("ss"):
        found.add(word[:-1])
    return found - {""}


def _only_reading(text: str, tokens: Sequence[_Token], catalogue: Catalogue) -> _Reading:
    """The one way to read the sentence. Two ways are as bad as none."""
    keys = _keys(catalogue)
    readings: set[_Reading] = set()
    best: list[_Token] | None = None  # fewest words left over
    for start in range(len(tokens)):
        for end in range(start + 1, min(start + MAX_NAME_TOKENS, len(tokens)) + 1):
            for key, plural in _named(tokens[start:end], keys):
                suffix, rest = _rest(tokens, start, end)
                left = [token for token in rest if not _is_known(token)]
                numbers = [count for token in rest if (count := _number(token)) is not None]
                if best is None or len(left) < len(best):
                    best = left
                if not left and len(numbers) <= 1:
                    article = any(token.text in ARTICLES for token in rest)
                    quantity = numbers[0] if numbers else 1
                    readings.add(_Reading(key, suffix, quantity, plural and not numbers and not article))
    if not readings:
        raise _not_read(text, tokens, best, catalogue)
    if len(readings) > 1:
        found = " or ".join(sorted(f"{item.quantity} of '{item.key}'" for item in readings))
        raise refusal(f"'{text}' can mean {found}.", catalogue, text)
    reading = readings.pop()
    if reading.needs_number:
        raise refusal(f"'{text}' asks for several and does not say how many.", catalogue, text)
    if not 1 <= reading.quantity <= MAX_COPIES:
        seen = str(reading.quantity)[:20]
        raise refusal(f"{seen} copies are asked for; 1 to {MAX_COPIES} are possible.", catalogue, text)
    return reading


def _named(span: Sequence[_Token], keys: Mapping[str, Sequence[str]]) -> list[tuple[str, bool]]:
    """Keys that a run of tokens names, each with whether the run is its plural."""
    joined = "".join(token.text for token in span)
    if joined in keys:
        return [(key, False) for key in keys[joined]]
    return [(key, True) for singular in sorted(_singulars(joined)) for key in keys.get(singular, ()) if key == singular]


def _keys(catalogue: Catalogue) -> dict[str, list[str]]:
    """What can be said for each key: the key itself, else the singular of a key that is a plural."""
    keys = sorted({_key(entry.name, catalogue) for entry in catalogue.entries} - {""})
    said = {key: [key] for key in keys}
    for key in keys:
        for singular in _singulars(key) - set(keys):
            said.setdefault(singular, []).append(key)
    return said


def _rest(tokens: Sequence[_Token], start: int, end: int) -> tuple[str, list[_Token]]:
    """File ending that follows the name in the same word ("" = none), and all other tokens."""
    suffix = ""
    if end < len(tokens) and tokens[end].word == tokens[end - 1].word and f".{tokens[end].text}" in PROGRAM_ENDINGS:
        suffix = f".{tokens[end].text}"
    return suffix, [*tokens[:start], *tokens[end + bool(suffix) :]]


def _number(token: _Token) -> int | None:
    """The number that a whole word is: 3, 3x, x3, three."""
    match = _COUNT.fullmatch(token.text) if token.whole else None
    if match is not None:
        return int(match[1] or match[2])
    return NUMBERS.get(token.text) if token.whole else None


def _is_known(token: _Token) -> bool:
    if token.text in BEFORE_MATERIAL:
        return token.whole and token.before_material
    return (token.whole and (token.text in WORDS or token.text in ARTICLES)) or _number(token) is not None


def _not_read(text: str, tokens: Sequence[_Token], left: list[_Token] | None, catalogue: Catalogue) -> InputError:
    """Why a sentence cannot be read: no program in it, unknown words, or two numbers."""
    if left is None:
        return refusal(f"'{text}' names no known program.", catalogue, text)
    if not left:
        return refusal(f"'{text}' states more than one number.", catalogue, text)
    if len(left) == 2 and left[0].text in BEFORE_MATERIAL and left[1].word == left[0].word + 1:
        return refusal(f"There is no material '{left[1].text}'.", catalogue, text)
    words = ", ".join(f"'{token.text}'" for token in left)
    return refusal(f"'{text}' holds what is not understood: {words}.", catalogue, text)


# --- variants -------------------------------------------------------------------------------------------


def _variant(variants: Sequence[Entry], asked: str, catalogue: Catalogue, material_of: MaterialOf) -> tuple[Entry, str]:
    """The file to make and its material. One must fit, no more."""
    sliced = {entry: _sliced(entry, catalogue, material_of) for entry in variants}
    name = _key(variants[0].name, catalogue) if variants else "this"
    if not variants:
        raise refusal("No program has this name and this ending.", catalogue)
    fitting = [entry for entry in variants if not asked or sliced[entry] == asked]
    if asked and not fitting:  # a file that does not say its material can be of any
        fitting = [entry for entry in variants if not sliced[entry]]
    if not fitting:
        exist = ", ".join(sorted({material for material in sliced.values() if material}))
        raise refusal(f"'{variants[0].name}' does not exist in {asked}; it exists in {exist}.", catalogue, name)
    if len(fitting) > 1:
        plain = [entry for entry in fitting if not _material_in_name(entry, catalogue)]
        fitting = plain if len(plain) == 1 and not asked else fitting
    if len(fitting) > 1:
        names = ", ".join(sorted(entry.path.name for entry in fitting))
        which = "Say the material." if len(set(sliced.values())) > 1 and not asked else "Say the whole file name."
        raise refusal(f"Several files fit: {names}. {which}", catalogue, name)
    return fitting[0], sliced[fitting[0]] or asked


def _material_in_name(entry: Entry, catalogue: Catalogue) -> str:
    known = {name.casefold(): name for name in catalogue.materials}
    found = [known[part] for part in _TOKEN.findall(entry.name.casefold()) if part in known]
    return found[0] if found else ""


def _sliced(entry: Entry, catalogue: Catalogue, material_of: MaterialOf) -> str:
    """The file's material: what it says itself, else what its name says. They must not contradict."""
    said, named = catalogue.material(material_of(entry.path)), _material_in_name(entry, catalogue)
    if said and named and said != named:
        raise refusal(f"{entry.path.name} says {named} in its name and {said} inside.", catalogue, entry.name)
    return said or named
