"""Trainers: FACT (decoupled, FAIR), recognisers, and the small Stable Diffusion of the demo world."""
