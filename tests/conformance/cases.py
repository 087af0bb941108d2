"""One row per method: hyper-parameters small enough to fit the tiny model in about a second."""

from collections.abc import Mapping

from sepme.core.method import Method
from sepme.methods.sepme import SepME

CASES: Mapping[str, Method] = {
    "sepme": SepME(images=2, pool=4, max_steps=12, scale=0.02, threshold=-1.0),
}
