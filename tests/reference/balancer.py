"""The balanced gradient by loops over steps, losses and items."""

import math


def balance(steps, weights, decay, total_norm):
    """Balanced gradients of successive steps.

    ``steps`` holds for each step ``{name: gradients}``, the gradients of a mean over the batch as lists of items of
    numbers.
    """
    history = {name: [] for name in weights}
    for gradients in steps:
        share = sum(weights[name] for name in gradients)
        balanced = None
        for name, items in gradients.items():
            norms = [math.sqrt(sum((len(items) * x) ** 2 for x in item)) for item in items]
            history[name].append(sum(norms) / len(norms))
            powers = [decay ** (len(history[name]) - 1 - i) for i in range(len(history[name]))]
            average = sum(p * n for p, n in zip(powers, history[name], strict=True)) / sum(powers)
            scale = total_norm * weights[name] / share / average
            scaled = [[scale * x for x in item] for item in items]
            balanced = (
                scaled
                if balanced is None
                else [[a + b for a, b in zip(one, two, strict=True)] for one, two in zip(balanced, scaled, strict=True)]
            )
        yield balanced
