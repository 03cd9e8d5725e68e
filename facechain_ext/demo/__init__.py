"""The demo model: small networks of the published structure, so that everything runs without a download."""
