"""The `vxdist corpus check` command: what is wrong with a corpus, and what to know about it."""
