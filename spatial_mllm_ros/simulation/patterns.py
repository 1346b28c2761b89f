"""What textures are made of: noise, lines and mixtures of colours, compiled by numba.

Structure finer than the pixel's footprint ``fp`` (metres) is faded out, so that textures neither flicker nor alias.
A material row ``m`` is Material.row: three linear colours (0:3, 3:6, 6:9), scale 9, amount 10, seed 11, glow 12,
gloss 13.

numba keeps compiled code by the file of the outermost function: after a change here, in textures.py or in prints.py
delete ``__pycache__/*.nb*``, or pictures stay as they were.
"""

import math

from ..compiled import compiled

jit = compiled(nogil=True, error_model="numpy")


@jit
def hash01(x, y, seed):
    """A random number in [0, 1) for a lattice point."""
    n = (int(x) * 374761393 + int(y) * 668265263 + int(seed) * 1274126177) & 0xFFFFFFFF
    n = ((n ^ (n >> 15)) * 2246822519) & 0xFFFFFFFF
    n = ((n ^ (n >> 13)) * 3266489917) & 0xFFFFFFFF
    return (n ^ (n >> 16)) / 4294967296.0


@jit
def noise(x, y, seed):
    """Value noise in [-1, 1] with unit lattice."""
    xi, yi = math.floor(x), math.floor(y)
    fx, fy = x - xi, y - yi
    fx, fy = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy)
    a, b = hash01(xi, yi, seed), hash01(xi + 1, yi, seed)
    c, d = hash01(xi, yi + 1, seed), hash01(xi + 1, yi + 1, seed)
    low = a + (b - a) * fx
    return 2 * (low + (c + (d - c) * fx - low) * fy) - 1


@jit
def visible(frequency, fp):
    """How much of a pattern with that many periods a metre survives a pixel of that footprint."""
    return min(1.0, max(0.0, 1.6 - 2.0 * frequency * fp))


@jit
def grit(u, v, frequency, octaves, fp, seed):
    """Sum of noise octaves, doubling in frequency and nearly equal in strength: fine structure at any distance."""
    total, gain = 0.0, 1.0
    for i in range(octaves):
        weight = visible(frequency, fp)
        if weight == 0.0:
            break
        total += gain * weight * noise(u * frequency, v * frequency, seed + i)
        frequency *= 2.1
        gain *= 0.85
    return total


@jit
def line(distance, half_width, fp):
    """Coverage 0..1 of a line, from the distance to its centre, blurred to the footprint."""
    soft = max(fp, 1e-4)
    return min(1.0, max(0.0, (half_width - distance) / soft + 0.5)) * min(1.0, 2 * half_width / soft)


@jit
def mix(r, g, b, m, k, amount):
    """The colour moved towards material colour k (0, 1 or 2)."""
    return r + (m[3 * k] - r) * amount, g + (m[3 * k + 1] - g) * amount, b + (m[3 * k + 2] - b) * amount


@jit
def scaled(r, g, b, factor):
    return r * factor, g * factor, b * factor
