"""What is known of the example photo."""

# Measured with mediapipe's own programs, apart from this project.
BOX, SCORE = (178, 83, 273, 178), 0.92
POINTS = [(203.5, 101.1), (246.6, 103.5), (223.4, 130.0), (201.8, 139.2), (245.0, 141.0)]
# Read off the photo by eye.
CHEEK, HAIR, WALL, SUIT, FLAG = (215, 135), (225, 40), (330, 60), (225, 250), (30, 100)
