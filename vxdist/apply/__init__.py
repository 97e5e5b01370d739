"""Writing a checkpoint of the ablated model, for any software that loads the model itself."""
