"""The command `mcpgw`: sub-commands are imported when they are asked for.

A client starts `mcpgw bridge` and waits for it, so nothing that another sub-command needs may cost
it start-up time.
"""

import importlib
import os
import sys
from typing import Annotated

import typer
from typer.core import TyperGroup

from . import __version__

# name -> (module, attribute): a typer.Typer or a plain function.
COMMANDS = {
    "bridge": ("mcpgw.bridge.command", "bridge"),
    "pi": ("mcpgw.pi.command", "app"),
    "flash": ("mcpgw.flash", "flash"),
    "deploy": ("mcpgw.deploy", "deploy"),
    "config": ("mcpgw.edge.command", "app"),
    "pair": ("mcpgw.pair", "pair"),
    "sim": ("mcpgw.sim.command", "app"),
    "tokenizer": ("mcpgw.tokenizer.command", "app"),
    "queue": ("mcpgw.queue.command", "app"),
    "doctor": ("mcpgw.doctor", "doctor"),
    "convert": ("mcpgw.convert.command", "convert"),
    "run": ("mcpgw.convert.command", "run"),
}

# What `pip install 'mcpgw[convert]'` brings, by the names it is imported by.
OPTIONAL = ("numpy", "tflite", "onnx", "gguf", "sklearn", "joblib", "tokenizers")


class LazyGroup(TyperGroup):
    """Looks sub-commands up in COMMANDS and imports only the one that runs (all for --help)."""

    def list_commands(self, ctx):
        return list(COMMANDS)

    def get_command(self, ctx, cmd_name):
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name]
        try:
            target = getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as e:
            if e.name != module:
                raise
            return None  # this installation comes without it
        if not isinstance(target, typer.Typer):
            single = typer.Typer(add_completion=False, rich_markup_mode="rich")
            single.command(cmd_name)(target)
            target = single
        command = typer.main.get_command(target)
        command.name = cmd_name
        return command


app = typer.Typer(
    cls=LazyGroup,
    add_completion=False,
    invoke_without_command=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="MCP for microcontrollers: connect, simulate, flash and deploy boards.",
)


def _show_version(asked: bool):
    if asked:
        print(f"mcpgw {__version__}")
        raise typer.Exit


@app.callback()
def options(
    ctx: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Say the version."),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show a traceback when something fails.")
    ] = False,
):
    if debug:
        os.environ["MCPGW_DEBUG"] = "1"
    if ctx.invoked_subcommand is None:
        print(ctx.get_help())
        raise typer.Exit(2)


def main(args=None):
    """Run the command line and exit: 0 done, 1 it failed, 2 it was asked for wrongly."""
    try:
        result = app(args, prog_name="mcpgw", standalone_mode=False)
    except SystemExit:
        raise
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as e:
        sys.exit(_report(e))
    sys.exit(result if isinstance(result, int) else 0)


def _report(error):
    """Print one line about an exception and return the exit code."""
    wrong_use = isinstance(error, typer.TyperException)
    if os.environ.get("MCPGW_DEBUG") and not wrong_use:
        import traceback

        traceback.print_exception(error)
        return 1
    if wrong_use:
        text = error.format_message()
    elif isinstance(error, typer.Abort):
        text = "stopped"
    elif isinstance(error, ModuleNotFoundError) and error.name in OPTIONAL:
        text = f"{error.name} is not installed: pip install 'mcpgw[convert]'"
    elif isinstance(error, OSError) or _is_ours(error):
        text = str(error) or type(error).__name__
    else:
        text = f"internal error: {type(error).__name__}: {error} (mcpgw --debug shows where)"
    print("mcpgw: " + " ".join(text.split()), file=sys.stderr)
    return getattr(error, "exit_code", 1)


def _is_ours(error):
    """An error type of this package is raised on purpose, with a text for people."""
    return type(error).__module__.split(".")[0] in ("mcpgw", "mcp_gw")


if __name__ == "__main__":
    main()
