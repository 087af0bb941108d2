"""The application, the flags every command has, and how a command is added."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sepme.cli._quiet import silence_others
from sepme.cli._screen import Screen
from sepme.errors import SpecError

if TYPE_CHECKING:
    from sepme.pipeline import ErasedPipeline

DEMO = "demo"
MAIN, LOOK, SETUP = "Erase and restore", "See and prove", "This installation"
_FLAGS = "Flags every command has"

app = typer.Typer(
    name="sepme",
    help="Make a text-to-image diffusion model forget named concepts, prove it, and restore any "
    "one of them exactly.",
    epilog="Start with: sepme quickstart",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Dtype = Literal["float32", "float16", "bfloat16"]
Concepts = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="CONCEPT",
        help="A concept of the demo model, or any phrase.",
        show_default=False,
    ),
]
ConceptsFile = Annotated[
    Path | None,
    typer.Option(
        "--concepts",
        metavar="FILE",
        help="CSV or YAML file: name, prompts, anchor, kind (prompts separated by | in CSV).",
    ),
]
Retain = Annotated[
    list[str] | None,
    typer.Option("--retain", metavar="CONCEPT", help="Leave this alone; repeat for more."),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="MODEL",
        help='"demo", a diffusers folder, or a hub id.',
        show_default="the ledger's, else demo",
    ),
]
LedgerFolder = Annotated[Path, typer.Option("--ledger", metavar="DIR", help="The ledger's folder.")]
MethodName = Annotated[str, typer.Option("--method", metavar="NAME", help="See `sepme methods`.")]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="Seed of everything random.")]


@dataclass(frozen=True)
class Run:
    """The common flags of one command and what they give."""

    device: Annotated[
        str | None,
        typer.Option(
            "--device", metavar="DEVICE", help="cpu, cuda, cuda:1, mps.", show_default="cpu"
        ),
    ] = None
    dtype: Annotated[
        Dtype | None, typer.Option("--dtype", help="Of the weights.", show_default="float32")
    ] = None
    offline: Annotated[bool, typer.Option("--offline", help="Never use the network.")] = False
    json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = (
        False
    )
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress messages.")] = False

    @cached_property
    def screen(self) -> Screen:
        """Both output streams."""
        return Screen(json=self.json, quiet=self.quiet)

    def load(self, model: str, *, ledger: Path | None = None) -> ErasedPipeline:
        """Load a model as the flags ask, saying so."""
        self.screen.say(f"loading model {model} ...")
        import torch

        from sepme.backends.quiet import hide_chatter
        from sepme.pipeline import load

        hide_chatter()
        try:
            device = None if self.device is None else str(torch.device(self.device))
        except RuntimeError as error:
            raise SpecError(
                f"got device {self.device!r}; expected cpu, cuda, cuda:N or mps."
            ) from error
        dtype = None if self.dtype is None else getattr(torch, self.dtype)
        source = os.path.abspath(model) if os.path.isdir(model) and model != DEMO else model
        return load(source, device=device, dtype=dtype, ledger=ledger, offline=self.offline)


def command(*, panel: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add a command: ``function(run, **its own options)``, with the common flags in ``run``.

    Args:
        panel: Heading it is listed under.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        @wraps(function)
        def shell(**values: Any) -> None:  # noqa: ANN401 (whatever the options are)
            run = Run(**{flag.name: values.pop(flag.name) for flag in fields(Run)})
            silence_others(run.screen, offline=run.offline)
            function(run, **values)

        own = inspect.signature(function, eval_str=True)
        common = inspect.signature(Run, eval_str=True).parameters.values()
        parameters = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in (*list(own.parameters.values())[1:], *map(_in_panel, common))
        ]
        shell.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        shell.__annotations__ = {p.name: p.annotation for p in parameters}
        app.command(function.__name__, rich_help_panel=panel)(shell)
        return function

    return register


def _in_panel(parameter: inspect.Parameter) -> inspect.Parameter:
    for option in getattr(parameter.annotation, "__metadata__", ()):
        option.rich_help_panel = _FLAGS
    return parameter


def _show_version(wanted: bool) -> None:
    if wanted:
        from sepme import __version__

        typer.echo(f"sepme {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    pass
