"""What one more name costs a list that is erased already, by the closed form in text space.

The text encoder has the true size of Stable Diffusion 1.x and random weights, ten times as wide as
usual: a dozen prompts then fill the text space, as about ten do with trained ones. A name is three
made up words, a word one token. What is kept of the names on the list are random rows in the true
shape, for what they hold does not change the time; the new name is read.

* ``late``: `SepMEText.fit` of one more name, with the statistics of all others kept on the disk;
* ``late, nothing kept``: the same when every name has to be read again (for short lists);
* ``refit``: `fit_many` of the whole list and the new name, statistics kept: the list is then what
  it would be had all names come at once.

``prompts`` counts what the encoder read, ``bytes`` what is kept on the disk.

    python benchmarks/growing.py [--concepts N,N,...] [--repeats N] [--out FILE] [--json]
"""

from __future__ import annotations

import zlib
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from unittest import mock

import torch
from harness import Row, parser, row, seconds_of, show
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from sepme.core.concept import BLANK, Concept
from sepme.io.memory_dir import remembered
from sepme.methods._statistics import Statistics
from sepme.methods.sepme_text import SepMEText

WIDTH, LAYERS, HEADS, TOKENS, WORDS = 768, 12, 12, 77, 49000
SITES = tuple(f"blocks.{k}.attn2.to_{part}" for k in range(16) for part in "kv")
READ_ANEW_MOST = 100  # beyond, a list is not read again only to time it


class Reader:
    """As much of a model as a fit in text space looks at, and how many prompts it has read."""

    fingerprint = "sha256:" + "0" * 64
    presets: Mapping[str, Mapping[str, object]] = {}

    def __init__(self) -> None:
        torch.manual_seed(0)
        config = CLIPTextConfig(
            hidden_size=WIDTH,
            intermediate_size=4 * WIDTH,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            initializer_factor=10.0,
        )
        self._encoder = CLIPTextModel(config).eval()
        parts = self._encoder.named_modules()
        norm = next(part for name, part in parts if name.endswith("final_layer_norm"))
        torch.nn.init.normal_(norm.bias)  # trained ones are not zero; zero leaves a direction free
        self.known: tuple[Concept, ...] = (BLANK,)
        self.read = 0

    def encode(self, prompts: Sequence[str]) -> Tensor:
        """Text embeddings ``(n, tokens, d_text)``."""
        self.read += len(prompts)
        tokens = torch.full((len(prompts), TOKENS), WORDS + 1)
        for line, prompt in zip(tokens, prompts, strict=True):
            words = [zlib.crc32(word.encode()) % WORDS for word in prompt.split()]
            line[: len(words) + 1] = torch.tensor([WORDS, *words])
        with torch.no_grad():
            return self._encoder(tokens).last_hidden_state

    def sites(self, target_modules: object = None) -> Mapping[str, Tensor]:
        """Names of sites; their weights are not looked at."""
        return dict.fromkeys(SITES, torch.empty(0))


def name(place: int) -> Concept:
    """A name of three words."""
    return Concept(f"name-{place}", (f"first{place} middle{place} last{place}",))


def fill(model: Reader, concepts: Sequence[Concept]) -> None:
    """Keep random rows of some concepts, in both roles."""
    method = SepMEText().resolve()
    draw = torch.Generator().manual_seed(1)

    def random(self: Statistics, role: str, concept: Concept) -> Tensor:
        return torch.randn(2 if role == "moved" else 1, method.pooled, WIDTH, generator=draw)

    statistics = Statistics(model, sentences=method.sentences, most=method.pooled)
    with mock.patch.object(Statistics, "_read", random):
        for concept in concepts:
            statistics.moved(concept, weight=1.0)


def timed(model: Reader, call: Callable[[], object], times: int) -> dict[str, float]:
    """Median seconds, and prompts read on average."""
    before = model.read
    seconds = median(seconds_of(call) for _ in range(times))
    return {"seconds": seconds, "prompts": (model.read - before) / times}


def measured(model: Reader, count: int, repeats: int) -> Iterator[Row]:
    """Rows for a list of so many names."""
    listed = [name(place) for place in range(count)]
    model.known = (BLANK, *listed)
    new = iter(range(count, count + 1000))
    with TemporaryDirectory() as folder:
        with remembered(folder):
            fill(model, listed)

        def late() -> None:
            with remembered(folder):
                SepMEText().fit(model, name(next(new)))

        def refit() -> None:
            with remembered(folder):
                SepMEText().fit_many(model, [*listed, name(next(new))])

        late()
        taken = sum(path.stat().st_size for path in Path(folder).iterdir())
        yield row("late", "sd1", count, **timed(model, late, repeats), bytes=taken)
        yield row("refit", "sd1", count, **timed(model, refit, 1))
    if count <= READ_ANEW_MOST:
        anew = timed(model, lambda: SepMEText().fit(model, name(next(new))), 1)
        yield row("late, nothing kept", "sd1", count, **anew)


def options() -> Namespace:
    """What to measure."""
    arguments = parser(__doc__)
    arguments.add_argument("--concepts", default="10,100,1000", help="numbers, with commas")
    arguments.add_argument("--repeats", type=int, default=5, help="timed repeats")
    arguments.add_argument("--out", type=Path, help="also write rows and environment here")
    chosen = arguments.parse_args()
    chosen.concepts = [int(count) for count in chosen.concepts.split(",")]
    if min(*chosen.concepts, chosen.repeats) < 1:
        arguments.error("all numbers must be 1 or more")
    return chosen


def main() -> None:
    """Measure and print."""
    chosen, model = options(), Reader()
    rows = [line for n in chosen.concepts for line in measured(model, n, chosen.repeats)]
    show(rows, as_json=chosen.json, out=chosen.out)


if __name__ == "__main__":
    main()
