"""The host for everyone without a WebUI: Stable Diffusion 1.5 by diffusers and transformers."""
