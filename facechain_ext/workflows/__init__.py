"""What the user wants, one readable page each."""
