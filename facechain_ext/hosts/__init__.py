"""Where we run: A1111, Forge, or on our own (standalone); the protocol is in types.py."""
