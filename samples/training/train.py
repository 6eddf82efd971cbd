"""Second step: train on the points, print a JSON line of metadata per epoch, save the model."""

import argparse
import json
import os
import random
from pathlib import Path

import spirals
from network import Network


def load():
    """The points of input `data`; without it those that step prepare would draw."""
    found = sorted(Path(os.environ.get("VH_INPUTS_DIR", "inputs"), "data").glob("*.csv"))
    if not found:
        print("no input: drawing the points here")
        return spirals.draw(points=400, noise=0.08, seed=7)
    print(f"reading {found[0]}")
    return spirals.read(found[0])


def main():
    """Read the parameters, train, save model.json."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--learning_rate", type=float, default=0.05)
    parser.add_argument("--hidden", type=int, default=16)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()

    rows = load()
    cut = len(rows) * 4 // 5
    training, validation = rows[:cut], rows[cut:]
    print(f"{len(training)} points to learn from, {len(validation)} to judge by")

    network = Network(options.hidden, options.seed)
    rng = random.Random(options.seed)
    for epoch in range(1, options.epochs + 1):
        rng.shuffle(training)
        for start in range(0, len(training), options.batch_size):
            network.learn(training[start : start + options.batch_size], options.learning_rate)
        loss, accuracy = network.judge(training)
        validation_loss, validation_accuracy = network.judge(validation)
        line = {
            "epoch": epoch,
            "loss": round(loss, 5),
            "accuracy": round(accuracy, 4),
            "val_loss": round(validation_loss, 5),
            "val_accuracy": round(validation_accuracy, 4),
        }
        print(json.dumps(line), flush=True)

    model = {"first": network.first, "second": network.second, "accuracy": validation_accuracy}
    Path(os.environ.get("VH_OUTPUTS_DIR", "."), "model.json").write_text(json.dumps(model))
    print("saved model.json")


if __name__ == "__main__":
    main()
