"""The `vxdist plan` command: what a run will need, from its configuration alone."""
