"""FaceChain-FACT in plain torch: face encoder, resampler, gated layers, and their injection into a UNet."""
