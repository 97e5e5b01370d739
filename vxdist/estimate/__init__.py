"""The `vxdist estimate` command: what a run will need, from its configuration alone."""
