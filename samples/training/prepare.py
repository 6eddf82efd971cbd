"""First step: make the data."""

import argparse
import json
import os

import spirals


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--points", type=int, default=400)
    parser.add_argument("--noise", type=float, default=0.08)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()

    rows = spirals.draw(options.points, options.noise, options.seed)
    path = os.path.join(os.environ.get("VH_OUTPUTS_DIR", "."), "spirals.csv")
    spirals.write(path, rows)
    print(f"wrote {len(rows)} points")
    print(json.dumps({"rows": len(rows), "noise": options.noise}))


if __name__ == "__main__":
    main()
