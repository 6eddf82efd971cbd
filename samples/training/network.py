"""A network of one hidden layer, written out: inputs -> tanh -> sigmoid, trained by stochastic gradient descent."""

import math
import random


def sigmoid(value):
    """1 / (1 + e^-value), without overflow."""
    if value >= 0:
        return 1 / (1 + math.exp(-value))
    grown = math.exp(value)
    return grown / (1 + grown)


class Network:
    """Tells the probability that a point is of class 1. `hidden` neurons see x, y and their squares."""

    def __init__(self, hidden, seed):
        rng = random.Random(seed)
        self.first = [[rng.gauss(0, 1) for _ in range(5)] for _ in range(hidden)]
        self.second = [rng.gauss(0, 1) / math.sqrt(hidden) for _ in range(hidden + 1)]

    @staticmethod
    def features(x, y):
        """What the hidden layer sees; the last one is the bias."""
        return (x, y, x * x, y * y, 1.0)

    def forward(self, seen):
        """(activations of the hidden layer, probability)."""
        hidden = [math.tanh(sum(w * s for w, s in zip(row, seen, strict=True))) for row in self.first]
        total = sum(w * h for w, h in zip(self.second, hidden, strict=False)) + self.second[-1]
        return hidden, sigmoid(total)

    def learn(self, batch, rate):
        """One step down the gradient over a batch of (x, y, label)."""
        steps = [[0.0] * 5 for _ in self.first]
        last = [0.0] * len(self.second)
        for x, y, label in batch:
            seen = self.features(x, y)
            hidden, probability = self.forward(seen)
            error = probability - label
            for index, value in enumerate(hidden):
                last[index] += error * value
                back = error * self.second[index] * (1 - value * value)
                row = steps[index]
                for place, feature in enumerate(seen):
                    row[place] += back * feature
            last[-1] += error
        for row, step in zip(self.first, steps, strict=True):
            for place, value in enumerate(step):
                row[place] -= rate * value
        for index, value in enumerate(last):
            self.second[index] -= rate * value

    def judge(self, rows):
        """(mean loss, share of right answers)."""
        loss, right = 0.0, 0
        for x, y, label in rows:
            probability = self.forward(self.features(x, y))[1]
            likely = probability if label else 1 - probability
            loss -= math.log(max(likely, 1e-12))
            right += likely > 0.5
        return loss / len(rows), right / len(rows)
