"""Additive codes by loops in float64: what the fast searches are held against."""

import itertools

import numpy as np


def error(x, codebooks, codes):
    """Squared error of one vector; levels whose code is negative add nothing."""
    parts = [book[code] for book, code in zip(codebooks, codes, strict=True) if code >= 0]
    return float(np.square(x - np.sum([np.zeros_like(x), *parts], axis=0)).sum())


def exhaustive(x, codebooks):
    """Codes of the best of all sums."""
    every = itertools.product(*[range(len(book)) for book in codebooks])
    return min(every, key=lambda codes: error(x, codebooks, codes))


def greedy(x, codebooks):
    """Codes of residual quantization, one level after the other."""
    codes, rest = [], x.copy()
    for book in codebooks:
        codes.append(int(np.square(rest - book).sum(1).argmin()))
        rest = rest - book[codes[-1]]
    return codes


def level_beam(x, codebooks, width, depth):
    """Codes of a beam over levels in order, ended at ``depth``."""
    beam = [()]
    for level in range(depth):
        grown = [(*codes, code) for codes in beam for code in range(len(codebooks[level]))]
        grown.sort(key=lambda codes: error(x, codebooks[: level + 1], codes))
        beam = grown[: 1 if level == len(codebooks) - 1 else width]
    return [*beam[0], *[-1] * (len(codebooks) - depth)]


def set_beam(x, codebooks, width):
    """Codes of a beam over sets of codewords from different levels."""
    beam = [(-1,) * len(codebooks)]
    for step in range(len(codebooks)):
        grown = set()
        for codes in beam:
            for level, book in enumerate(codebooks):
                if codes[level] < 0:
                    grown |= {(*codes[:level], code, *codes[level + 1 :]) for code in range(len(book))}
        ranked = sorted(grown, key=lambda codes: error(x, codebooks, codes))
        beam = ranked[: 1 if step == len(codebooks) - 1 else width]
    return list(beam[0])


def conditional_modes(x, codebooks, codes, sweeps, margin):
    """Codes after sweeps that change one level at a time, if the squared error falls by more than ``margin``."""
    codes = list(codes)
    for _ in range(sweeps):
        for level, book in enumerate(codebooks):
            errors = [error(x, codebooks, [*codes[:level], code, *codes[level + 1 :]]) for code in range(len(book))]
            if min(errors) < errors[codes[level]] - margin:
                codes[level] = int(np.argmin(errors))
    return codes


def least_squares(x, codes, codebooks, weights, ridge):
    """Codebooks by a dense least-squares solve on one-hot codes, with rows that hold them to where they are."""
    starts = np.cumsum([0, *[len(book) for book in codebooks]])
    design = np.zeros((len(x), starts[-1]))
    for level in range(len(codebooks)):
        design[np.arange(len(x)), starts[level] + codes[:, level]] = 1
    hold = np.sqrt(ridge * (design * weights[:, None]).sum() / starts[-1]) * np.eye(starts[-1])
    root = np.sqrt(weights)[:, None]
    left = np.concatenate([design * root, hold])
    right = np.concatenate([x * root, hold @ np.concatenate(codebooks)])
    solution = np.linalg.lstsq(left, right, rcond=None)[0]
    return [solution[starts[level] : starts[level + 1]] for level in range(len(codebooks))]
