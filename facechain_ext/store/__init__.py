"""What is kept: saved persons."""
