"""Templates to pages, and pages to files."""

from __future__ import annotations

import base64
import io
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from sepme.errors import SepmeError, SpecError
from sepme.io.atomic import write_atomic

if TYPE_CHECKING:
    from PIL.Image import Image

_PIXELS = 256
_SECONDS = 120
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
_QUIETLY = [
    f"--{flag}"
    for flag in (
        "headless", "disable-gpu", "disable-quic", "no-first-run", "no-pdf-header-footer",
        "disable-background-networking", "disable-component-update", "disable-sync",
    )
]  # fmt: skip
if getattr(os, "geteuid", lambda: 1)() == 0:
    _QUIETLY.append("--no-sandbox")  # Chromium refuses to start as root with one


def render(template: str, values: Mapping[str, Any]) -> str:
    """Fill a template in; a name it does not find is an error.

    Args:
        template: File name among the templates.
        values: Names to values.

    Returns:
        The page.
    """
    templates = Environment(
        loader=PackageLoader("sepme.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return templates.get_template(template).render(values)


def write_html(page: str, path: str | Path) -> Path:
    """Write a page in one step.

    Args:
        page: The page.
        path: The file; its folder is made if it does not exist.

    Returns:
        The file.

    Raises:
        OSError: If it cannot be written; an old file is then intact.
    """
    return _write(page.encode("utf-8"), path)


def write_pdf(page: str, path: str | Path) -> Path:
    """Print a page with headless Chromium, which lays it out as it does on the screen.

    Args:
        page: The page.
        path: The file; its folder is made if it does not exist.

    Returns:
        The file.

    Raises:
        SpecError: If there is no Chromium or Chrome.
        SepmeError: If it prints nothing.
        OSError: If the file cannot be written; an old one is then intact.
    """
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if browser is None:
        raise SpecError(
            f"a PDF needs one of {', '.join(_BROWSERS)} on the PATH, found none. "
            "Install one, on Debian: apt-get install chromium; or write an .html report."
        )
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "page.html").write_text(page, encoding="utf-8")
        printed = folder / "page.pdf"
        flags = [f"--user-data-dir={folder / 'profile'}", f"--print-to-pdf={printed}"]
        command = [browser, *_QUIETLY, *flags, (folder / "page.html").as_uri()]
        try:
            subprocess.run(  # noqa: S603 (a browser found on the PATH, our own page)
                command, check=True, capture_output=True, timeout=_SECONDS
            )
            return _write(printed.read_bytes(), path)
        except (subprocess.SubprocessError, FileNotFoundError) as error:
            raise SepmeError(
                f"{browser} printed no PDF ({error}). Write an .html report and print that."
            ) from error


def data_uri(image: Image) -> str:
    """An image as a PNG inside the page, at most 256 pixels a side.

    Args:
        image: The image.

    Returns:
        What an ``img`` element takes as its source.
    """
    small = image.copy()
    small.thumbnail((_PIXELS, _PIXELS))
    buffer = io.BytesIO()
    small.save(buffer, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _write(data: bytes, path: str | Path) -> Path:
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(target, data)
    return target
