"""Words and files become concepts, or a clear error."""

from pathlib import Path

import pytest

from sepme import demo
from sepme.cli._concepts import chosen_concepts, named_concepts, read_concepts
from sepme.cli._screen import Screen
from sepme.core.concept import Concept
from sepme.errors import ConceptError, SepmeError, SpecError


def named(word: str, model: str = "demo") -> Concept:
    return named_concepts([word], model=model, screen=Screen())[0]


@pytest.mark.parametrize("word", ["van-gogh", "Van Gogh", "van gogh "])
def test_a_demo_concept_by_name_or_phrase(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert named(word) == demo.concepts()[0]
    assert capsys.readouterr() == ("", "")


def test_a_near_name_is_free_text_with_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    assert named("van gog") == Concept("van-gog", ("van gog",))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("note: ")
    assert "Did you mean 'van-gogh'?" in err


def test_elsewhere_everything_is_free_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert named("van-gogh", model="other") == Concept("van-gogh", ("van-gogh",))
    assert capsys.readouterr() == ("", "")


def test_something_must_be_chosen_and_only_once() -> None:
    with pytest.raises(ConceptError, match="no concept"):
        chosen_concepts([], None, model="m", screen=Screen())
    twice = chosen_concepts(["a cat", "a cat"], None, model="m", screen=Screen())
    assert [concept.name for concept in twice] == ["a-cat"]
    with pytest.raises(ConceptError, match="twice"):
        chosen_concepts(["a cat", "A Cat"], None, model="m", screen=Screen())


WANTED = (
    Concept("van-gogh", ("Van Gogh", "Vincent"), anchor="a painting", kind="style"),
    Concept("cat", ("a cat",)),
)
CSV = "name,prompts,anchor,kind\nvan-gogh,Van Gogh | Vincent,a painting,style\ncat,a cat,,\n"
YAML = """
- {name: van-gogh, prompts: [Van Gogh, Vincent], anchor: a painting, kind: style}
- {name: cat, prompts: a cat}
"""


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.csv", CSV),
        ("c.csv", "\ufeff" + CSV),
        ("c.yaml", YAML),
        ("c.yml", "concepts:" + YAML.replace("\n", "\n  ")),
    ],
)
def test_files(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    assert read_concepts(path) == WANTED


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.csv", "", "lists no concept"),
        ("c.csv", "name,prompts\ncat\n", "cells"),
        ("c.csv", "name,prompts\ncat,a,b\n", "cells"),
        ("c.csv", "name,promts\ncat,a cat\n", "Did you mean 'prompts'"),
        ("c.csv", 'name,prompts\n"cat,a cat\n', "CSV"),
        ("c.csv", "name,prompts\n../up,a cat\n", "concept 1"),
        ("c.yaml", "[", "not valid YAML"),
        ("c.yaml", "[" * 5000, "YAML"),
        ("c.yaml", "just text", "must be a list"),
        ("c.yaml", "- 7", "expected name"),
        ("c.yaml", "- {name: cat}", "prompts"),
        ("c.yaml", "- {name: cat, prompts: 7}", "prompts"),
        ("c.yaml", "- {1: cat}", "no field 1"),
        ("c.yaml", "- !!python/object/apply:os.system [echo]", "YAML"),
    ],
)
def test_bad_files_give_one_clear_error(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SepmeError, match=message) as caught:
        read_concepts(path)
    assert caught.value.exit_code == 2


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="No such file"):
        read_concepts(tmp_path / "absent.csv")
    (tmp_path / "c.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match="UTF-8"):
        read_concepts(tmp_path / "c.csv")
