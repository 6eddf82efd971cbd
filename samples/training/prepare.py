"""First step: make the data."""

import argparse
import json
import os
from pathlib import Path

import spirals


def main():
    """Read the parameters, write spirals.csv."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--points", type=int, default=400)
    parser.add_argument("--noise", type=float, default=0.08)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()

    rows = spirals.draw(options.points, options.noise, options.seed)
    spirals.write(Path(os.environ.get("VH_OUTPUTS_DIR", "."), "spirals.csv"), rows)
    print(f"wrote {len(rows)} points")
    print(json.dumps({"rows": len(rows), "noise": options.noise}))


if __name__ == "__main__":
    main()
