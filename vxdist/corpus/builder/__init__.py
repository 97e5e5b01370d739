"""The `vxdist corpus build` command: a corpus written by a language model."""
