"""What is done at a model's neurons: counting, ablating, and the self-test at load."""
