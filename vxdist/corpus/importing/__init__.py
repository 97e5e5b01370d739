"""The `vxdist corpus import` command: import an existing dataset."""
