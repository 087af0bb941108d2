"""What an attack on an erased model is, what it may use, and what it finds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, TypeAlias

from torch import Generator, Tensor, nn

from sepme.core.concept import Concept
from sepme.errors import SpecError

if TYPE_CHECKING:
    from PIL.Image import Image

Access = Literal["prompt", "embedding", "image", "weights"]
"""What an attacker needs: the prompt box, text embeddings, latents and sampler, the weights."""

Noise: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Latents ``x_t``, the batch of equal timesteps ``t`` and the guided noise to the noise used."""

Judge: TypeAlias = "Callable[[Sequence[Image]], list[bool]]"
"""Whether each image shows the concept."""


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt and a seed under which the original model draws the concept.

    Attributes:
        prompt: The prompt.
        seed: The seed of the image.
    """

    prompt: str
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sampling:
    """How a run of the sampler departs from the pipeline's own.

    Attributes:
        steps: Steps of the whole run.
        start: First step to do.
        stop: First step not to do; None is the end.
        eta: Fresh noise at each step: 0 none, 1 as in DDPM.
        generator: Of the fresh noise.
        blank_embeds: What guidance steers away from at each step, ``(1 or n, tokens, d_text)``
            each; None is the blank prompt throughout.
        guidance_scale: None is the model's own.
        noise: Replaces the guided noise.
        after: Called with the new latents and their timestep (0 at the end); the run goes on with
            what it returns.
    """

    steps: int = 25
    start: int = 0
    stop: int | None = None
    eta: float = 0.0
    generator: Generator | None = None
    blank_embeds: Sequence[Tensor] | None = None
    guidance_scale: float | None = None
    noise: Noise | None = None
    after: Callable[[Tensor, int], Tensor] | None = None


class Subject(Protocol):
    """One model, erased or not, as an attacker who holds it can use it.

    Everything speaks of the model as it is, and is differentiable in its tensor arguments.
    """

    @property
    def alphas_cumprod(self) -> Tensor:
        """Share of the signal in the square of ``x_t``, ``(timesteps,)``, float32."""

    @property
    def token_table(self) -> Tensor:
        """Embedding of every token of the vocabulary, ``(vocabulary, d)``."""

    @property
    def unet(self) -> nn.Module:
        """The noise predictor itself; `with_unet` makes a subject of a changed copy."""

    @property
    def guidance_scale(self) -> float:
        """Classifier-free guidance the model is sampled with."""

    def with_unet(self, unet: nn.Module) -> Subject:
        """The same model with another noise predictor.

        Args:
            unet: A changed deep copy of `unet`.
        """

    def tokenize(self, prompts: Sequence[str]) -> Tensor:
        """Token ids, with start, end and padding.

        Args:
            prompts: ``n`` prompts.

        Returns:
            ``(n, tokens)``, int64.
        """

    def words(self, ids: Tensor) -> list[str]:
        """Prompts that read like the given tokens, special ones left out.

        Args:
            ids: ``(n, tokens)``.
        """

    def encode(self, prompts: Sequence[str]) -> Tensor:
        """Text embeddings ``(n, tokens, d_text)``.

        Args:
            prompts: ``n`` prompts.
        """

    def encode_tokens(self, embeds: Tensor) -> Tensor:
        """Text embeddings of token embeddings that need not belong to any word.

        Args:
            embeds: ``(n, tokens, d)``, such as rows of `token_table`.

        Returns:
            ``(n, tokens, d_text)``.
        """

    def predict_noise(self, latents: Tensor, timesteps: Tensor, prompt_embeds: Tensor) -> Tensor:
        """Noise the model predicts, without guidance.

        Args:
            latents: ``(n, channels, height, width)``.
            timesteps: ``(n,)``.
            prompt_embeds: ``(n, tokens, d_text)``.
        """

    def timesteps(self, steps: int) -> list[int]:
        """Timesteps of a run of the sampler, from noise to image.

        Args:
            steps: How many.
        """

    def start_latents(self, seeds: Sequence[int]) -> Tensor:
        """The noise each seed starts from, ``(n, channels, height, width)``.

        Args:
            seeds: ``n`` seeds.
        """

    def sample(self, prompt_embeds: Tensor, latents: Tensor, how: Sampling | None = None) -> Tensor:
        """Run the DDIM sampler, or a part of it.

        Args:
            prompt_embeds: ``(n, tokens, d_text)``.
            latents: Where to start, ``(n, channels, height, width)``.
            how: How to sample; None is as the pipeline does.

        Returns:
            Latents, of the image if the run goes to its end.
        """

    def decode(self, latents: Tensor) -> list[Image]:
        """Images of latents.

        Args:
            latents: ``(n, channels, height, width)``.
        """

    def encode_images(self, images: Sequence[Image]) -> Tensor:
        """Latents of images, scaled as the noise predictor sees them.

        Args:
            images: ``n`` images of the model's own size.
        """


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """Everything an attack is given.

    Attributes:
        subject: The erased model.
        original: The model before anything was erased: what an attacker can download.
        concept: What was erased.
        judge: Tells whether an image shows the concept. Attacks may ask it about images they drew.
        examples: Prompts and seeds that the erased model withstands without an attack.
        steps: Denoising steps of an image.
    """

    subject: Subject
    original: Subject
    concept: Concept
    judge: Judge
    examples: tuple[Example, ...]
    steps: int = 25


@dataclass(frozen=True, slots=True)
class AttackResult:
    """What an attack achieved.

    Attributes:
        flags: For each example whether the concept came back.
        queries: Images the attacked model drew.
        facts: More figures, such as the PSNR of a reconstruction, by name.
        curve: Success against effort, if the attack has more than one: ``(effort, share)``.
        prompts: For each example the prompt that was found, if the attack looks for one.

    Raises:
        SpecError: If the numbers contradict each other.
    """

    flags: tuple[bool, ...]
    queries: int
    facts: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    curve: tuple[tuple[float, float], ...] = ()
    prompts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.queries < 0:
            raise SpecError(f"an attack cannot draw {self.queries} images; count them from 0.")
        if self.prompts and len(self.prompts) != len(self.flags):
            raise SpecError(
                f"got {len(self.prompts)} prompts for {len(self.flags)} examples; give one each."
            )


class Attack(ABC):
    """Tries to make an erased model draw the concept again.

    Subclasses are frozen dataclasses of the attack's own settings. An attack never changes the
    model it is given, and the same seed gives the same result.

    Attributes:
        name: Registry name.
        paper: Link to where it comes from.
        access: What the attacker needs.
        cheap: Whether it belongs to the default profile.
        budget: Effort spent on each example, in ``unit``, unless told otherwise.
        unit: ``"images"`` drawn or optimisation ``"steps"``.
        control: Whether the gain is meaningless without that on the gold or the original model,
            since the attack can bring back anything.
    """

    name: ClassVar[str]
    paper: ClassVar[str]
    access: ClassVar[Access]
    cheap: ClassVar[bool] = False
    budget: ClassVar[int]
    unit: ClassVar[Literal["images", "steps"]]
    control: ClassVar[bool] = False

    @abstractmethod
    def run(self, trial: Trial, *, budget: int | None = None, seed: int = 0) -> AttackResult:
        """Attack.

        Args:
            trial: The model and what to bring back.
            budget: Effort spent on each example, in the attack's own unit; None is its own.
            seed: Seed of everything random.

        Returns:
            What came back.

        Raises:
            SpecError: If the budget is below 1.
        """
