"""What of transformers' model types vxdist supports, proven on small models of each."""
