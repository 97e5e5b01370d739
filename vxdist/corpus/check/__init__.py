"""The `vxdist corpus check` command: errors and weaknesses of a corpus."""
