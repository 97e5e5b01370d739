"""The `vxdist models` command: which models are supported, and what one of them is like."""
