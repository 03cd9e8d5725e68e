"""Pictures as numpy, PIL and OpenCV: geometry, masks, colour, crop and paste back. No torch."""
