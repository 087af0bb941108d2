"""From words and files to concepts."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from sepme.cli._app import DEMO
from sepme.cli._screen import Screen
from sepme.core.concept import Concept
from sepme.errors import ConceptError, SepmeError, SpecError, did_you_mean, shown

_COLUMNS = ("name", "prompts", "anchor", "kind")
_NEAR = 0.75


def chosen_concepts(
    words: Sequence[str] | None, file: Path | None, *, model: str, screen: Screen
) -> tuple[Concept, ...]:
    """Concepts a command is about: named in words, listed in a file, or both.

    Raises:
        ConceptError: If there is none, or two of the same name differ.
        SpecError: If the file cannot be used.
    """
    found = named_concepts(words, model=model, screen=screen)
    found += read_concepts(file) if file else ()
    if not found:
        raise ConceptError("no concept was given. Name at least one, or use --concepts FILE.")
    distinct: dict[str, Concept] = {}
    for concept in found:
        if distinct.setdefault(concept.name, concept) != concept:
            raise ConceptError(f"concept {concept.name!r} was given twice with different fields.")
    return tuple(distinct.values())


def named_concepts(
    words: Sequence[str] | None, *, model: str, screen: Screen
) -> tuple[Concept, ...]:
    """Each word as the demo model's concept of that name, else as free text."""
    return tuple(_named(word, model, screen) for word in words or ())


def _named(word: str, model: str, screen: Screen) -> Concept:
    if model != DEMO:
        return Concept.from_text(word)
    from sepme import demo

    known = {concept.name: concept for concept in demo.concepts()}
    if word in known:
        return known[word]
    for concept in known.values():
        if word.strip().casefold() in {prompt.casefold() for prompt in concept.prompts}:
            return concept
    concept = Concept.from_text(word)
    near = difflib.get_close_matches(concept.name, known, n=1, cutoff=_NEAR)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    screen.note(f"{word!r} is no concept of the demo model; taken as free text.{hint}")
    return concept


def read_concepts(path: Path) -> tuple[Concept, ...]:
    """Concepts listed in a CSV or YAML file.

    Raises:
        SpecError: If the file cannot be read or is not of that form.
        ConceptError: If a concept is not well formed.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise SpecError(f"cannot read {path}: {reason}.") from error
    rows = _csv_rows(text, path) if path.suffix.lower() == ".csv" else _yaml_rows(text, path)
    if not rows:
        raise SpecError(f"{path} lists no concept.")
    return tuple(_concept(row, f"{path}, concept {place}") for place, row in enumerate(rows, 1))


def _csv_rows(text: str, path: Path) -> list[dict[str, Any]]:
    try:
        rows = list(csv.DictReader(text.splitlines(), strict=True))
    except csv.Error as error:
        raise SpecError(f"{path} is not valid CSV: {error}.") from error
    for row in rows:
        if None in row or None in row.values():
            raise SpecError(f"{path} has a line with more or fewer cells than its first line.")
        row["prompts"] = [p.strip() for p in row.get("prompts", "").split("|")]
    return [{k: v for k, v in row.items() if v} for row in rows]


def _yaml_rows(text: str, path: Path) -> list[Any]:
    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        reason = str(error).splitlines() or ["it is nested too deeply"]
        raise SpecError(f"{path} is not valid YAML: {reason[0]}.") from error
    if isinstance(data, Mapping):
        data = data.get("concepts")
    if not isinstance(data, list):
        raise SpecError(
            f'{path} must be a list of concepts, or have one under "concepts", got {shown(data)}.'
        )
    return data


def _concept(row: object, where: str) -> Concept:
    if not isinstance(row, Mapping):
        raise SpecError(f"{where}: expected {', '.join(_COLUMNS)}, got {shown(row)}.")
    for key in row:
        if key not in _COLUMNS:
            hint = did_you_mean(str(key), _COLUMNS)
            raise SpecError(f"{where}: a concept has no field {shown(key)}. {hint}")
    prompts = row.get("prompts")
    filled = {"anchor": "", "kind": "concept", **row}
    filled["prompts"] = [prompts] if isinstance(prompts, str) else prompts
    try:
        return Concept.from_dict(filled)
    except SepmeError as error:
        raise ConceptError(f"{where}: {error}") from error
