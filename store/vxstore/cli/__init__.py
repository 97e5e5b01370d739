"""The `vxstore` command."""
