"""Import: counts that other software recorded in, an activation store out."""
