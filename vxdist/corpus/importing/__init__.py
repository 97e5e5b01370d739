"""The `vxdist corpus import` command: corpora of what others have."""
