"""Chunks of audio files in plain Python integers, as docs/formats.md words them; tables are lists of counts."""

from collections.abc import Sequence

from reference.bitstream import group_of, unpack_radix, width_of
from reference.range_decoder import RangeDecoder


def decode_chunk(
    payload: bytes,
    frames: int,
    channels: int,
    sizes: Sequence[int],
    *,
    depth: int | None,
    length_known: bool,
    tables: dict[str, list] | None,
) -> tuple[list[list[list[int]]], int]:
    """Codes [channel][frame][level] and the number of unused samples."""
    unused = 0
    if not length_known:
        place = 0
        while True:
            byte, payload = payload[0], payload[1:]
            unused += (byte & 127) << (7 * place)
            place += 1
            if byte < 128:
                break
    if tables is not None:
        chosen, payload = payload[0], payload[1:]
        if chosen:
            return ranged(payload, frames, channels, len(sizes), depth, chosen - 1, tables), unused
    return packed(payload, frames, channels, sizes, depth), unused


def packed(payload, frames, channels, sizes, depth):
    count = frames * channels
    if depth is None:
        levels = len(sizes)
        bits = radix_length(count, levels + 1)
        first = payload[: (bits + 7) // 8]
        depths = [row[0] for row in unpack_radix(first, [1] * count, [levels + 1])]
        payload = payload[len(first) :]
    else:
        depths = [depth] * count
    rows = unpack_radix(payload, depths, list(sizes))
    return [[rows[frame * channels + channel] for frame in range(frames)] for channel in range(channels)]


def radix_length(count, size):
    whole, rest = divmod(count, group_of(size))
    return whole * width_of(size ** group_of(size)) + width_of(size**rest)


def ranged(payload, frames, channels, levels, depth, chosen, tables):
    decoder = RangeDecoder(payload)
    if depth is None:
        depths = ranged_depths(decoder, frames, channels, levels, chosen, tables)
    else:
        depths = [[depth] * frames for _ in range(channels)]
    codes = [[[-1] * levels for _ in range(frames)] for _ in range(channels)]
    order = [(frame, channel) for frame in range(frames) for channel in range(channels)]
    for frame, channel in order:
        if depths[channel][frame]:
            past = codes[channel][frame - 1][0] if frame else 0
            group = tables["classes.0"][max(past, 0)]
            codes[channel][frame][0] = decoder.decode(tables["level.0"][group])
    for level in range(1, levels):
        for group, table in enumerate(tables[f"level.{level}"]):
            for frame, channel in order:
                here = codes[channel][frame]
                if depths[channel][frame] > level and tables[f"classes.{level}"][here[0]] == group:
                    here[level] = decoder.decode(table)
    return codes


def ranged_depths(decoder, frames, channels, levels, chosen, tables):
    depths = [[0] * frames for _ in range(channels)]
    for frame in range(frames):
        for channel in range(channels):
            a = depths[channel][frame - 1] if frame >= 1 else 0
            b = depths[channel][frame - 2] if frame >= 2 else 0
            if channel and "depth.beside" in tables:
                table = tables["depth.beside"][chosen][a * (levels + 1) + depths[channel - 1][frame]]
            else:
                table = tables["depth.alone"][chosen][3 * a + (a > b) - (a < b) + 1]
            depths[channel][frame] = decoder.decode(table)
    return depths
