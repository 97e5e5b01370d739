"""Import: counts recorded by other software in, an activation store out."""
