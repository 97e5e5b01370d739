"""Reading and writing bytes: storage, arrays, metadata, and what guards them."""
