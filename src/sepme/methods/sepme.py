"""SepME: separable multi-concept erasure, one concept at a time (the paper's separate variant)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from sepme.methods._separable import Separable


@dataclass(frozen=True, kw_only=True)
class SepME(Separable):
    """Erase a concept by decorrelating its noise representation, inside a null space.

    The shift of site ``l`` is ``dW_l = beta A_l D`` with ``E D^T = 0`` for the text embeddings
    ``E`` of every listed prompt (SRS-ME, eq. 17-26), so those prompts' keys and values stay as
    they are, whatever other shifts are active. ``A`` starts at zero and minimises
    ``L_cor + lambda ||dtheta||_1`` with ``L_cor = mean(r_c(theta0 + dtheta) r_c(theta0))`` and
    ``r_c = eps(x_t, c) - eps(x_t, "")`` (eq. 27-28, 34-36), until its running mean is down to
    ``tau`` (eq. 37). The stop is essential: going on destroys more than the concept.

    The shift's ``provenance.fit`` tells rank, leak, separability, directions, steps, the momentum
    statistic reached and whether the stop fired.

    Args:
        learning_rate: Of Adam (paper: 0.1).
        scale: beta, what the learned factors are multiplied with (paper: 1e-4).
        momentum: alpha of the momentum stop, 0 to 1 (paper: 0.9).
        threshold: tau of the momentum stop, in units of the loss (paper: 1e-4).
        penalty: lambda, weight of the L1 norm averaged over sites (paper: 1e-6).
        decorrelate: What must lose its correlation by itself: ``"batch"``, the mean over everything
            as in the paper; ``"sample"`` or ``"channel"``, each noised latent or each channel of
            each, in shares of what the original shows, so that the threshold is a share too.
        reversal: How far below zero the share of a sample or channel may go before it counts no
            more; a threshold below zero needs some. Not used with ``"batch"``, where nothing
            bounds it.
        max_steps: Steps after which training ends without the stop (paper: 1000).
        batch_size: Noised latents a step (paper: 1).
        basis: ``"null-space"`` learns on every direction of the null space, as the paper does;
            ``"private"`` only on those along which the target's own rows move.
        learns: ``"site"`` learns a matrix ``A_l`` for every site, as the paper does; ``"text"`` one
            map of text space for all of them, ``dW_l = W_l beta A D``, with as many parameters as
            one site has. The scale is divided by the usual norm of a row of the weights then.
        start: What ``A`` is before the first step: ``"zero"``, as in the paper, or
            ``"closed-form"``, the smallest map along the same directions that sends the concept's
            family of sentences to its anchor's; the encoder must be causal.
        energy: Share of the target's squared norm the private directions keep, above 0 to 1.
        rtol: Relative tolerance of the null space's rank (dimensionless).
        images: Images the pristine model draws for the concept.
        pool: Noised latents made from them.
        bins: DDIM bins the timesteps are drawn from (paper: 50).
        target_modules: Sites to change, a regular expression for the module path.

    Raises:
        SpecError: If a value is out of range.

    Example:
        >>> chosen = SepME(basis="private").resolve({"scale": 0.01})
        >>> chosen.basis, chosen.scale, chosen.learning_rate
        ('private', 0.01, 0.1)
    """

    name: ClassVar[str] = "sepme"
    paper: ClassVar[str] = "https://arxiv.org/abs/2402.05947"
    kind: ClassVar[Literal["trained", "closed-form", "guard"]] = "trained"
    separable: ClassVar[bool] = True
    restorable: ClassVar[str] = "any one concept, exactly on the prompts the others list"
    cost: ClassVar[str] = "tens of steps a concept, one U-Net forward and backward each"
