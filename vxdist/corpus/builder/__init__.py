"""The `vxdist corpus build` command: generate a corpus with a language model."""
