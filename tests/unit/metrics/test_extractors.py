"""Wiring of networks that are not here: toy ones in the same formats take their place."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

from sepme.errors import BackendError
from sepme.metrics import METRICS
from sepme.metrics.extractors import Clip, Inception

COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
IMAGES = [Image.new("RGB", (20, 20), COLOURS[k % 3]) for k in range(18)]


class ToyInception(nn.Module):
    """Gives the mean of each channel, padded, if asked for features of bytes."""

    def __init__(self, width: int = 2048) -> None:
        super().__init__()
        self.width = width

    def forward(self, images: Tensor, return_features: bool = False) -> Tensor:
        assert return_features
        assert images.dtype == torch.uint8
        means = images.float().mean(dim=[2, 3])
        return torch.cat([means, torch.zeros(len(means), self.width - 3)], dim=1)


def scripted(folder: Path, width: int = 2048) -> Path:
    path = folder / f"inception-{width}.pt"
    torch.jit.script(ToyInception(width)).save(str(path))
    return path


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_inception_sees_bytes_and_gives_features(tmp_path: Path) -> None:
    rows = Inception(scripted(tmp_path)).images(IMAGES)
    assert rows.shape == (18, 2048)
    assert rows[:3, :3].tolist() == [list(map(float, colour)) for colour in COLOURS]
    metric = METRICS["fid"]()
    metric.update(rows, rows)
    assert metric.compute().value == pytest.approx(0, abs=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_another_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="2048"):
        Inception(scripted(tmp_path, 64)).images(IMAGES)
    (tmp_path / "text.pt").write_text("not a network")
    with pytest.raises(BackendError, match="no TorchScript"):
        Inception(tmp_path / "text.pt")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy CLIP with random weights."""
    place = tmp_path_factory.mktemp("clip")
    words = [*"abcdefghijklmnopqrstuvwxyz", "<|startoftext|>", "<|endoftext|>"]
    vocab = {w: i for i, w in enumerate([*words[:26], *(f"{w}</w>" for w in words[:26])])}
    vocab |= {w: len(vocab) + i for i, w in enumerate(words[26:])}
    CLIPTokenizer(vocab=vocab, merges=[], model_max_length=8).save_pretrained(place)
    CLIPImageProcessor(
        size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}
    ).save_pretrained(place)
    small = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
    ends = {"bos_token_id": len(vocab) - 2, "eos_token_id": len(vocab) - 1}
    text = dict(vocab_size=len(vocab), max_position_embeddings=8, **small, **ends)
    config = CLIPConfig(
        text_config=text,
        vision_config=dict(image_size=16, patch_size=8, **small),
        projection_dim=12,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        CLIPModel(config).save_pretrained(place)
    return place


def test_clip_gives_features_of_both(folder: Path) -> None:
    clip = Clip(folder)
    prompts = ["a cat", "a very long prompt that is cut", "dog"] * 6
    images, texts = clip.images(IMAGES), clip.texts(prompts)
    assert images.shape == texts.shape == (18, 12)
    assert torch.allclose(images[:3], images[15:], atol=1e-5)
    assert not torch.allclose(images[0], images[1], atol=1e-3)
    metric = METRICS["clip_score"]()
    metric.update(texts, images)
    assert metric.compute().n == 18


def test_clip_prepares_images_as_its_folder_says(folder: Path, tmp_path: Path) -> None:
    """Inverse check: with another preprocessor there are other features."""
    other = tmp_path / "clip"
    other.mkdir()
    for path in folder.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    facts = json.loads((folder / "preprocessor_config.json").read_text())
    changed = facts | {"image_mean": [0.0, 0.0, 0.0]}
    (other / "preprocessor_config.json").write_text(json.dumps(changed))
    assert not torch.allclose(Clip(folder).images(IMAGES), Clip(other).images(IMAGES), atol=1e-3)


def test_missing_weights_are_one_line(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    for load, place in (
        (Clip, tmp_path / "none"),
        (Clip, tmp_path),
        (Inception, tmp_path / "none.pt"),
    ):
        with pytest.raises(BackendError, match="Download") as caught:
            load(place)
        assert "\n" not in str(caught.value)
