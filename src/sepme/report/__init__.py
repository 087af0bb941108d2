"""Evidence as one HTML file that anybody can read."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from sepme.io.atomic import write_atomic
from sepme.report.sentences import headline, sentences
from sepme.report.view import view
from sepme.verify.evidence import Evidence

__all__ = ["headline", "sentences", "write_report"]


def write_report(evidence: Evidence, path: str | Path) -> Path:
    """Write a self-contained report: pictures and styles inside, no script, no network.

    Args:
        evidence: What to report.
        path: The HTML file; its folder is made if it does not exist. Replaced in one step.

    Returns:
        The file.

    Raises:
        OSError: If it cannot be written; an old report is then intact.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    templates = Environment(
        loader=PackageLoader("sepme.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = templates.get_template("report.html.j2").render(view(evidence))
    write_atomic(target, html.encode("utf-8"))
    return target
