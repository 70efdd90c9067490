"""The label scheme used everywhere inside the platform. Readers map to it; nothing else may renumber labels."""

BACKGROUND, LV, MYO, RV = 0, 1, 2, 3
CLASSES = 4
STRUCTURES = {"LV": LV, "MYO": MYO, "RV": RV}
