"""What to erase, or to leave alone."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from sepme.core.record import read_fields, read_strings
from sepme.errors import ConceptError, shown

_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,99}")


@dataclass(frozen=True, slots=True)
class Concept:
    """A style, object, watermark or person, given by prompts that name it.

    Attributes:
        name: Key in ledgers and file names: a-z, 0-9 and inner hyphens, at most 100 characters.
        prompts: At least one prompt; the first is a bare noun phrase that fits into templates.
        anchor: Prompt that mapping methods send it to; "" is the unconditional prompt.
        kind: What sort of concept it is (style, object, watermark, ...), spelled like a name.

    Raises:
        ConceptError: If a field is not of that form.

    Example:
        >>> Concept("van-gogh", prompts=("Van Gogh", "Vincent van Gogh"), kind="style").name
        'van-gogh'
    """

    name: str
    prompts: tuple[str, ...]
    anchor: str = ""
    kind: str = "concept"

    def __post_init__(self) -> None:
        """Check every field."""
        check_name(self.name)
        check_name(self.kind, what="a concept's kind")
        if not _is_text(self.anchor):
            raise ConceptError(f"anchor must be a text prompt, got {shown(self.anchor)}.")
        if not isinstance(self.prompts, tuple) or not all(map(_is_text, self.prompts)):
            raise ConceptError(
                f"prompts must be a tuple of text prompts, got {shown(self.prompts)}; "
                'write one prompt as ("Van Gogh",).'
            )
        blank = self.kind == "blank" and self.prompts == ("",)
        if not blank and not (self.prompts and all(prompt.strip() for prompt in self.prompts)):
            raise ConceptError(
                f"concept {self.name!r} needs at least one prompt and no blank ones, "
                f"got {shown(self.prompts)}."
            )

    @classmethod
    def from_text(cls, text: str, *, anchor: str = "", kind: str = "concept") -> Concept:
        """Concept whose only prompt is the text and whose name is made from it.

        Args:
            text: A bare noun phrase in any script that has a Latin decomposition.
            anchor: As the attribute.
            kind: As the attribute.

        Returns:
            The concept.

        Raises:
            ConceptError: If no letter or digit is left to name it by.

        Example:
            >>> Concept.from_text("Paul Cézanne")
            Concept(name='paul-cezanne', prompts=('Paul Cézanne',), anchor='', kind='concept')
        """
        ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
        name = re.sub(r"[^a-z0-9]+", "-", ascii_text.lower()).strip("-")[:100].rstrip("-")
        if not name:
            raise ConceptError(
                f"no name can be made from {shown(text)}: it has no Latin letter or digit. "
                'Name it yourself: Concept("name", prompts=(text,)).'
            )
        return cls(name, (text.strip(),), anchor, kind)

    def to_dict(self) -> dict[str, object]:
        """The fields as JSON types."""
        return {
            "name": self.name,
            "prompts": list(self.prompts),
            "anchor": self.anchor,
            "kind": self.kind,
        }

    @classmethod
    def from_dict(cls, data: object) -> Concept:
        """Read what `to_dict` wrote, from a source that need not be trusted.

        Args:
            data: Parsed JSON.

        Returns:
            The concept.

        Raises:
            ConceptError: If the data is anything else.
        """
        types = {"name": str, "prompts": list, "anchor": str, "kind": str}
        fields = read_fields(data, types, what="a concept", error=ConceptError)
        prompts = read_strings(fields.pop("prompts"), what="prompts", error=ConceptError)
        return cls(prompts=prompts, **fields)


def check_name(name: object, *, what: str = "a concept's name") -> None:
    """Refuse anything that is not a plain lower-case name.

    Args:
        name: The candidate.
        what: What it names, for the message.

    Raises:
        ConceptError: If it is not a-z, 0-9 and inner hyphens, at most 100 characters.
    """
    if not isinstance(name, str) or not _SLUG.fullmatch(name):
        raise ConceptError(
            f"{what} must be lower-case letters, digits and hyphens (at most 100), "
            f'got {shown(name)}; for example "van-gogh".'
        )


def _is_text(value: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


BLANK = Concept("blank", ("",), kind="blank")
"""The unconditional prompt, which every shift leaves alone."""
