"""The commands in groups, as ``discovery --help`` shows them."""

from __future__ import annotations

import typer

PANELS: dict[str, tuple[str, ...]] = {
    "Campaigns": ("run", "campaigns", "status", "events", "funnel"),
    "What was found": ("query", "show", "report", "serve", "export", "redo"),
    "Your own crystals": ("relax", "screen", "verify", "dedup", "import-dft"),
    "Generator and models": ("generate", "train", "train-screen", "evaluate", "models"),
    "Running it": ("doctor", "worker", "dft", "data", "backup", "restore", "repair"),
}


def arrange(app: typer.Typer) -> None:
    """Put every command into its panel, in the order of the panels.

    Raises:
        KeyError: A command is in no panel.
    """
    panel = {name: title for title, names in PANELS.items() for name in names}
    order = {name: place for place, name in enumerate(panel)}
    commands = {_name(one): one for one in app.registered_commands}
    for name, command in commands.items():
        command.rich_help_panel = panel[name]
    for group in app.registered_groups:
        group.rich_help_panel = panel[str(group.name)]
    app.registered_commands = [commands[name] for name in sorted(commands, key=order.__getitem__)]


def _name(command: typer.models.CommandInfo) -> str:
    """Return a command's name as a person types it."""
    assert command.callback is not None  # every command here is a function
    return command.name or command.callback.__name__.replace("_", "-")
