import json

import pytest

from sepme.backends.sidecar import FILE_NAME, Sidecar
from sepme.core.concept import BLANK
from sepme.errors import BackendError


def write(folder, data) -> None:
    (folder / FILE_NAME).write_text(data if isinstance(data, str) else json.dumps(data))


def test_no_file_means_the_defaults(tmp_path) -> None:
    assert Sidecar.read(tmp_path) == Sidecar()
    assert Sidecar().known == (BLANK,)


def test_reads_watermarks_presets_and_guidance(tmp_path) -> None:
    mark = {"name": "mark", "prompts": ["mark"], "anchor": "", "kind": "watermark"}
    presets = {"sepme": {"scale": 0.01}}
    write(tmp_path, {"watermarks": [mark], "presets": presets, "guidance_scale": 2, "styles": []})
    sidecar = Sidecar.read(tmp_path)
    assert [concept.name for concept in sidecar.known] == ["blank", "mark"]
    assert sidecar.presets == presets
    assert sidecar.guidance_scale == 2.0


@pytest.mark.parametrize(
    "data",
    ["{", "[]", {"presets": []}, {"watermarks": [{"name": "x"}]}, {"guidance_scale": "much"}],
    ids=["not-json", "not-an-object", "presets", "watermarks", "guidance"],
)
def test_anything_else_is_an_error(tmp_path, data) -> None:
    write(tmp_path, data)
    with pytest.raises(BackendError, match=r"sepme\.json"):
        Sidecar.read(tmp_path)
