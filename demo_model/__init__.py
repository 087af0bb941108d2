"""Builder of the embedded demo model: corpus, choice of concepts, training and evaluation.

Run the modules in this order; each writes into ``demo_model/build`` and resumes from there::

    python -m demo_model.build_corpus     # drawings and their repaintings
    python -m demo_model.choose           # which styles and objects a detector can tell apart
    python -m demo_model.train            # detector, autoencoder, trunk, generator
    python -m demo_model.evaluate         # scores.json and the contact sheet
"""

from pathlib import Path

HERE = Path(__file__).parent
BUILD = HERE / "build"
IMAGE_SIZE = 64
