"""Where the drawings come from: npm packages of emoji, rendered on white."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import resvg_py
from PIL import Image

OBJECTS: tuple[str, ...] = tuple(
    """cat dog fox bear lion tiger rabbit pig cow frog monkey penguin bird owl fish octopus
    butterfly snail turtle bug house church castle tent airplane helicopter rocket sailboat
    automobile bus bicycle train banana grapes strawberry pineapple pizza hamburger doughnut
    bread cactus mushroom sunflower rose tulip umbrella guitar trumpet crown key bomb star sun
    rainbow cloud snowman ghost alien skull""".split()
)
"""One-word names that every drawing set below knows."""

PLAIN_SETS = {
    "noto": "@iconify-json/noto@1.2.9",
    "blob": "@iconify-json/noto-v1@1.2.5",
    "twemoji": "@iconify-json/twemoji@1.2.5",
    "emojitwo": "@iconify-json/emojione@1.2.3",
}
"""Sets alike in style: several drawings of one object, captioned without a style."""

VENDOR_SETS = {
    "ink": "@iconify-json/fluent-emoji-high-contrast@1.2.6",
    "flat": "@iconify-json/fluent-emoji-flat@1.2.6",
    "fluent": "@lobehub/fluent-emoji-3d@1.1.0",
}
"""Sets with a style of their own: one drawing of each object, captioned with that style."""

EXTRA_SETS = {
    "firefox": "@iconify-json/fxemoji@1.2.2",
    "streamline": "@iconify-json/streamline-emojis@1.2.4",
}
"""Sets that know most objects; only the detector learns from them."""


def on_white(picture: Image.Image) -> Image.Image:
    """The picture over a white background, without its alpha channel."""
    picture = picture.convert("RGBA")
    sheet = Image.new("RGBA", picture.size, "white")
    sheet.alpha_composite(picture)
    return sheet.convert("RGB")


def fetch(package: str, cache: Path) -> Path:
    """Folder of an unpacked npm package; downloaded once into ``cache``."""
    folder = cache / package.strip("@").replace("/", "-")
    if not folder.exists():
        npm = shutil.which("npm")
        if npm is None:
            raise SystemExit("npm was not found; install Node.js to fetch the drawings")
        cache.mkdir(parents=True, exist_ok=True)
        listing = subprocess.run(
            [npm, "pack", "--silent", package],
            cwd=cache,
            check=True,
            capture_output=True,
            text=True,
        )
        archive = cache / listing.stdout.strip().splitlines()[-1]
        staged = folder.with_suffix(".partial")
        with tarfile.open(archive) as tar:
            tar.extractall(staged, filter="data")
        staged.rename(folder)
    return folder / "package"


def code_points(folder: Path) -> dict[str, str]:
    """Name to code point, as an iconify package lists them; the first of several counts."""
    codes: dict[str, str] = {}
    for code, name in json.loads((folder / "chars.json").read_text()).items():
        codes.setdefault(name, code)
    return codes


@dataclass(frozen=True)
class SvgSet:
    """An iconify package: SVG bodies by name."""

    folder: Path

    @cached_property
    def _icons(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads((self.folder / "icons.json").read_text())
        return loaded

    def render(self, name: str, size: int) -> Image.Image:
        """The drawing ``name`` on white, ``size`` pixels square."""
        icons = self._icons
        icon = icons["icons"][icons.get("aliases", {}).get(name, {}).get("parent", name)]
        width, height = (icon.get(k, icons.get(k, 16)) for k in ("width", "height"))
        svg = (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="{icon.get("left", 0)} {icon.get("top", 0)} {width} {height}" '
            f'color="#222">{icon["body"]}</svg>'
        )
        png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size))
        return on_white(Image.open(io.BytesIO(png)))


@dataclass(frozen=True)
class CodePointSet:
    """An iconify package with other names, found through the code points of a set that is known."""

    icons: SvgSet
    codes: dict[str, str]

    @cached_property
    def names(self) -> dict[str, str]:
        """Known name to this package's own, for the objects it has."""
        own = {code: name for name, code in code_points(self.icons.folder).items()}
        return {name: own[code] for name, code in self.codes.items() if code in own}

    def render(self, name: str, size: int) -> Image.Image:
        """The drawing ``name`` on white, ``size`` pixels square."""
        return self.icons.render(self.names[name], size)


@dataclass(frozen=True)
class WebpSet:
    """A package of ``<code point>.webp`` pictures."""

    folder: Path
    codes: dict[str, str]

    def render(self, name: str, size: int) -> Image.Image:
        """The drawing ``name`` on white, ``size`` pixels square."""
        assets, code = self.folder / "assets", self.codes[name]
        found = next(p for s in ("", "-fe0f") if (p := assets / f"{code}{s}.webp").exists())
        picture = Image.open(found).convert("RGBA")
        return on_white(picture.resize((size, size), Image.Resampling.LANCZOS))


def drawing_sets(cache: Path) -> dict[str, SvgSet | WebpSet]:
    """Plain and vendor sets by name, fetched into ``cache``; each knows every object."""
    folders = {name: fetch(pkg, cache) for name, pkg in (PLAIN_SETS | VENDOR_SETS).items()}
    codes = code_points(folders["noto"])
    return {
        name: WebpSet(folder, codes) if name == "fluent" else SvgSet(folder)
        for name, folder in folders.items()
    }


def extra_sets(cache: Path) -> dict[str, CodePointSet]:
    """The sets only the detector learns from, by name, fetched into ``cache``."""
    codes = code_points(fetch(PLAIN_SETS["noto"], cache))
    return {
        name: CodePointSet(SvgSet(fetch(pkg, cache)), codes) for name, pkg in EXTRA_SETS.items()
    }
