"""What the demo world's people and scenes are made of: tables of kinds and colours, no code. Colours are RGB."""

from __future__ import annotations

RGB = tuple[int, int, int]

SKINS: tuple[RGB, ...] = (
    (255, 224, 200), (246, 205, 176), (234, 184, 146), (218, 160, 112),
    (190, 130, 84), (160, 102, 64), (126, 78, 50), (92, 56, 40),
)  # fmt: skip
HAIR_COLOURS: tuple[RGB, ...] = (
    (28, 24, 26), (70, 42, 30), (124, 74, 40), (176, 84, 34), (226, 172, 76), (246, 226, 160),
    (206, 52, 36), (150, 152, 158), (240, 240, 238), (58, 104, 200), (234, 116, 170), (46, 150, 112), (126, 74, 178),
)  # fmt: skip
EYE_COLOURS: tuple[RGB, ...] = ((62, 38, 24), (136, 84, 34), (52, 128, 74), (48, 116, 196), (120, 132, 146), (28, 24, 26))
LIP_COLOURS: tuple[RGB, ...] = ((196, 104, 98), (176, 64, 70), (212, 36, 60), (150, 74, 66), (222, 120, 140))
FRAME_COLOURS: tuple[RGB, ...] = ((24, 24, 30), (128, 70, 34), (196, 40, 48), (40, 84, 168), (206, 164, 56))

# forehead, cheek, jaw and chin half-widths and half-height of the face, in units of the mean half-height
FACES: dict[str, tuple[float, float, float, float, float]] = {
    "round": (0.74, 0.98, 0.84, 0.46, 0.88),
    "oval": (0.70, 0.80, 0.58, 0.25, 1.04),
    "long": (0.57, 0.62, 0.52, 0.28, 1.18),
    "square": (0.80, 0.85, 0.88, 0.60, 0.97),
    "heart": (0.92, 0.88, 0.44, 0.12, 1.00),
    "pear": (0.54, 0.78, 0.96, 0.56, 1.00),
    "diamond": (0.50, 0.94, 0.46, 0.16, 1.08),
}
EYES: tuple[str, ...] = ("almond", "round", "narrow", "drooping", "cat")
NOSES: tuple[str, ...] = ("button", "straight", "broad", "hooked", "bulb", "pointed")
SHORT_HAIR: tuple[str, ...] = (
    "bald", "buzz", "crop", "side part", "bowl", "curly", "mohawk", "spiky", "pompadour", "receding", "afro",
)  # fmt: skip
LONG_HAIR: tuple[str, ...] = (
    "bob", "long straight", "long wavy", "bun", "pigtails", "side tail", "plaits", "afro", "bowl", "side part", "two buns",
)  # fmt: skip
BEARDS: tuple[str, ...] = ("stubble", "goatee", "full", "moustache", "handlebar", "long", "chin strap")
GLASSES: tuple[str, ...] = ("round", "square", "cat-eye", "half-rim", "aviator")
MARKS: tuple[str, ...] = ("freckles", "mole", "scar", "rosy cheeks", "wrinkles", "plaster", "eye patch")
EARRINGS: tuple[str, ...] = ("studs", "hoops")

STYLES: tuple[str, ...] = ("photo", "pencil", "watercolour", "neon", "comic", "oil")
"""Styles the base model is trained on."""
EXTRA_STYLES: tuple[str, ...] = ("blueprint", "woodcut")
"""Styles the base model has never seen: each is taught by a style LoRA."""
COLOURLESS: frozenset[str] = frozenset({"pencil", "blueprint", "woodcut"})
"""Styles in which the colour of clothes cannot be seen."""

EXPRESSIONS: tuple[str, ...] = ("neutral", "smile", "laugh", "sad", "surprised")
BACKGROUNDS: tuple[str, ...] = ("wall", "beach", "forest", "city", "mountains", "library")
CLOTHES: tuple[str, ...] = ("t-shirt", "hoodie", "suit", "turtleneck", "striped shirt", "dungarees")
HATS: tuple[str, ...] = ("cap", "beanie", "straw hat", "crown", "top hat")
ARMS: tuple[str, ...] = ("down", "left up", "right up", "both up")
CLOTHES_COLOURS: dict[str, RGB] = {
    "red": (208, 44, 48),
    "blue": (44, 92, 200),
    "green": (40, 148, 76),
    "yellow": (244, 200, 48),
    "purple": (134, 66, 176),
    "black": (44, 44, 52),
    "white": (238, 238, 240),
    "orange": (238, 128, 36),
}
WALLS: tuple[RGB, ...] = ((206, 214, 222), (232, 214, 190), (190, 212, 200), (222, 198, 204), (168, 186, 206), (236, 226, 176))
