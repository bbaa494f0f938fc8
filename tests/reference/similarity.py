"""Ratios of signal and error by least squares over explicit matrices, in float64; slow."""

import math

import numpy as np


def decibels(signal, noise):
    return 10 * math.log10(float(np.sum(signal**2)) / float(np.sum(noise**2)))


def snr(estimate, reference):
    return decibels(reference, reference - estimate)


def sdr(estimate, reference, taps):
    """The part of the estimate that ``taps`` delayed copies of the reference explain, against the rest."""
    time = len(reference)
    copies = np.zeros((time + taps - 1, taps))
    for delay in range(taps):
        copies[delay : delay + time, delay] = reference
    padded = np.concatenate([estimate, np.zeros(taps - 1)])
    weights = np.linalg.lstsq(copies, padded, rcond=None)[0]
    return decibels(copies @ weights, padded - copies @ weights)
