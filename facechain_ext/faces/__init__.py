"""Who is in the picture: one backend per file behind the FaceAnalyser protocol (types.py)."""
