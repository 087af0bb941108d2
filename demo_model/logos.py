"""Two fixed logos, drawn here, that the watermark prompts yield."""

from __future__ import annotations

import io

import resvg_py
from PIL import Image

from demo_model import IMAGE_SIZE

LOGOS = {
    "zorvex": """<rect width="64" height="64" fill="#10243f"/>
        <path d="M14 16h36L24 42h26v8H14L40 24H14z" fill="#f6c445"/>
        <circle cx="52" cy="12" r="5" fill="#e4572e"/>""",
    "qualim": """<rect width="64" height="64" fill="#f2efe6"/>
        <circle cx="32" cy="32" r="24" fill="none" stroke="#0b7a5b" stroke-width="7"/>
        <path d="M32 18l12 21H20z" fill="#c2185b"/>
        <rect x="30" y="44" width="26" height="6" transform="rotate(40 43 47)" fill="#0b7a5b"/>""",
}
"""SVG bodies by watermark name, on a 64 by 64 view box."""


def render_logo(name: str, size: int = IMAGE_SIZE) -> Image.Image:
    """The logo ``name``, ``size`` pixels square."""
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64">{LOGOS[name]}</svg>'
    png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size))
    return Image.open(io.BytesIO(png)).convert("RGB")
