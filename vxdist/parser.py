"""The argument parser of commands with options of their own; it reports errors in one line."""

from vxstore.cli.parser import Parser

__all__ = ["Parser"]
