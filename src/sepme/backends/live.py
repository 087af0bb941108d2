"""A live U-Net: which of its weights are changed, and which guards act on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from torch import Tensor, nn

from sepme.backends.guarding import Guarding, Guards, guards_fingerprint
from sepme.backends.weights import PristineWeights
from sepme.core.backend import CROSS_ATTN_KV
from sepme.core.fingerprint import fingerprint
from sepme.core.guard import Guard
from sepme.core.policy import Policy
from sepme.errors import BackendError


class LiveUNet:
    """Changes a U-Net in place and can give back the original, bit for bit.

    Keeps a pristine copy of the text sites (77 MB in float32 for SD 1.x), and of any other weight
    for as long as it is changed.

    Args:
        unet: A diffusers U-Net.

    Raises:
        BackendError: If it has no text sites, or adapters hide one.
    """

    def __init__(self, unet: nn.Module) -> None:
        """Copy the text sites."""
        self._unet = unet
        self._pristine = PristineWeights(unet)
        self._guarding = Guarding(unet)

    def sites(self, target_modules: str | Sequence[str] = CROSS_ATTN_KV) -> Mapping[str, Tensor]:
        """Pristine weights of the matching linear and convolution layers, by module path.

        A weight that is not changed at the moment is the live one itself, without a copy.
        """
        self._follow_device()
        matches = self._pristine.matching(target_modules)
        if not matches:
            raise BackendError(
                f"target_modules {target_modules!r} matches no linear or convolution layer; "
                f"expected names such as {next(iter(self._pristine))!r}."
            )
        return matches

    def _follow_device(self) -> None:
        self._pristine.follow(next(self._unet.parameters()).device)

    def write(self, weights: Mapping[str, Tensor]) -> None:
        """Copy weights into the live U-Net, in place."""
        self._pristine.write(weights)

    def live(self) -> dict[str, Tensor]:
        """Weights of the text sites and of all other changed sites as the pipeline uses them."""
        return self._pristine.live()

    def originals(self) -> dict[str, Tensor]:
        """Pristine weights of the sites in `live`; writing them gives everything back."""
        self._follow_device()
        return dict(self._pristine)

    @property
    def guards(self) -> Guards:
        """The guards in force on the live pipeline, with their strengths."""
        return self._guarding.guards

    def guard(self, guards: Sequence[tuple[Guard, float]]) -> None:
        """Let these guards act on the live pipeline, and no others."""
        self._guarding.put(guards)

    def live_fingerprint(self) -> str:
        """Fingerprint of the weights and the guards as the pipeline uses them now."""
        return fingerprint(self.live().items(), guards_fingerprint(self.guards))

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """Take weights and guards back, bit for bit, if the block fails or is interrupted."""
        before, guards = {site: w.clone() for site, w in self.live().items()}, self.guards
        try:
            yield
        except BaseException:
            self.write(self.originals() | before)
            self.guard(guards)
            raise

    @contextmanager
    def pristine(self) -> Iterator[None]:
        """Run the original; live weights, guards and policy come back on exit, bit for bit."""
        before = {site: w.clone() for site, w in self.live().items()}
        try:
            self.write(self.originals())
            with self._guarding.instead(()):
                yield
        finally:
            self.write(self.originals() | before)

    @property
    def policy(self) -> Policy | None:
        """The policy in force, if there is one."""
        return self._guarding.policy

    @contextmanager
    def policed(self, policy: Policy) -> Iterator[None]:
        """Let every prompt of a batch have its own erased set inside a block.

        The U-Net runs with the pristine weights, by reference: none is written. What was in force
        before comes back on exit.

        Args:
            policy: One erased set for each prompt of every batch inside the block.

        Yields:
            Nothing.

        Raises:
            BaseMismatch: If a guard names a module that the model lacks.
        """
        self._follow_device()
        with self._pristine.aside(), self._guarding.instead(policy):
            yield
