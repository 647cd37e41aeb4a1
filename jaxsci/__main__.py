"""``python -m jaxsci``: the command line."""

from jaxsci.cli import command

command()
