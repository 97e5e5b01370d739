"""The `vxdist models` command: list the supported models, or describe one."""
