"""An argument parser that reports errors on one line, as all of vxstore and vxdist do."""

import argparse
from typing import NoReturn

from vxstore.errors import UserError


class Parser(argparse.ArgumentParser):
    """Raises UserError where argparse would print its usage and exit."""

    def error(self, message: str) -> NoReturn:
        """Raise UserError with the message, and where to find help."""
        raise UserError(f"{message} (see `{self.prog} --help`)")
