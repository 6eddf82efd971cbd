"""Two interleaved spirals: a small task that a straight line can't solve."""

import csv
import math
import random
from pathlib import Path

HEADER = ["x", "y", "label"]


def draw(points, noise, seed):
    """`points` rows (x, y, label) of each of the two classes, in random order."""
    rng = random.Random(seed)
    rows = []
    for label in (0, 1):
        for number in range(points):
            radius = (number + 1) / points
            angle = 1.25 * math.pi * radius + math.pi * label
            x = radius * math.cos(angle) + rng.gauss(0, noise)
            y = radius * math.sin(angle) + rng.gauss(0, noise)
            rows.append((x, y, label))
    rng.shuffle(rows)
    return rows


def write(path, rows):
    """The rows as a CSV file with a header."""
    with Path(path).open("w", newline="") as target:
        writer = csv.writer(target)
        writer.writerow(HEADER)
        writer.writerows((f"{x:.6f}", f"{y:.6f}", label) for x, y, label in rows)


def read(path):
    """Rows of a file that `write` made. Raises ValueError for another header."""
    with Path(path).open(newline="") as source:
        reader = csv.reader(source)
        if next(reader, None) != HEADER:
            raise ValueError(f"{path}: the header {','.join(HEADER)} is expected")
        return [(float(x), float(y), int(label)) for x, y, label in reader]
