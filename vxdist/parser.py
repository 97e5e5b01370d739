"""The argument parser of commands with options of their own: its errors are one line."""

from vxstore.cli.parser import Parser

__all__ = ["Parser"]
