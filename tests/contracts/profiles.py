"""Small colour profiles (ICC, version 2), written field by field."""

import struct

import numpy as np

D50 = (0.9642, 1.0, 0.8249)
# Columns are the primaries, adapted to D50.
SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])
WIDE = np.array([[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]])  # P3


def _fixed(*values):
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def _profile(space, pcs, tags, kind=b"mntr"):
    name = b"a test\0"
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", len(name)) + name + bytes(78),
        b"cprt": b"text" + bytes(4) + b"none\0",
        b"wtpt": b"XYZ " + bytes(4) + _fixed(*D50),
        **tags,
    }
    table, body, start = b"", b"", 128 + 4 + 12 * len(tags)
    for tag, data in tags.items():
        table += tag + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    size = struct.pack(">I", start + len(body))
    head = size + bytes(4) + struct.pack(">I", 0x02100000) + kind + space + pcs + bytes(12) + b"acsp" + bytes(28)
    head += _fixed(*D50)
    return head + bytes(128 - len(head)) + struct.pack(">I", len(tags)) + table + body


def _gamma(value):
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(value * 256))


def colour_profile(primaries=WIDE, gamma=2.0):
    """Three primaries and a power."""
    columns = {
        tag: b"XYZ " + bytes(4) + _fixed(*column)
        for tag, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries.T, strict=True)
    }
    return _profile(b"RGB ", b"XYZ ", columns | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), _gamma(gamma)))


def grey_profile(gamma=1.5):
    """A power."""
    return _profile(b"GRAY", b"XYZ ", {b"kTRC": _gamma(gamma)})


def ink_profile():
    """Inks that are all grey: lightness falls with each of them, and to nothing with black."""
    ramp = bytes(range(256))
    nodes = b""
    for number in range(16):
        cyan, magenta, yellow, black = ((number >> place) & 1 for place in (3, 2, 1, 0))
        nodes += bytes([round(255 * (1 - black) * (1 - (cyan + magenta + yellow) / 3)), 128, 128])
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + _fixed(1, 0, 0, 0, 1, 0, 0, 0, 1) + 4 * ramp + nodes + 3 * ramp
    return _profile(b"CMYK", b"Lab ", {b"A2B0": lut}, b"prtr")


def in_srgb(values, primaries=WIDE, gamma=2.0):
    """What bytes of ``colour_profile`` are in sRGB, by its definition."""
    return _encoded((values / 255) ** gamma @ (np.linalg.inv(SRGB) @ primaries).T)


def grey_in_srgb(values, gamma=1.5):
    """What bytes of ``grey_profile`` are in sRGB."""
    return _encoded((values / 255) ** gamma)


def _encoded(linear):
    linear = linear.clip(0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
