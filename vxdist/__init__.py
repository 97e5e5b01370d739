"""vxdist: find the neurons of a language model that carry human values."""

__version__ = "0.1.0"
