"""Textures that show something: paintings, writing, labels, a screen, the view from a window.

Arguments as in textures.py.
"""

import math

from .patterns import grit, hash01, jit, line, mix, noise, scaled, visible


@jit
def picture(u, v, fp, m, w, h):
    """A painting: hills under a sky, or overlapping shapes; colours 0 (ground), 1 (sky or shapes), 2 (accent)."""
    x, y = u / w, v / h
    seed = int(m[11])
    small = fp / w
    if seed % 2:
        r, g, b = m[3] + 0.35 * (1 - y), m[4] + 0.25 * (1 - y), m[5] + 0.1 * (1 - y)
        r, g, b = mix(
            r, g, b, m, 2, line(math.hypot((x - 0.3 - 0.4 * hash01(1, 1, seed)) * w / h, y - 0.74), 0.09, small)
        )
        for i in range(4):
            ridge = 0.62 - 0.14 * i + 0.10 * noise(x * (2 + i) + 9 * i, i, seed) + 0.025 * noise(x * 14, i, seed + 3)
            r, g, b = mix(r, g, b, m, 0, line(y, ridge, small) * (0.35 + 0.2 * i))
        brush = noise(x * 25, y * 60, seed) * visible(60 / h, fp)
    else:
        r, g, b = m[0], m[1], m[2]
        for i in range(9):
            cx, cy = hash01(i, 0, seed), hash01(i, 1, seed)
            size = 0.08 + 0.2 * hash01(i, 2, seed)
            kind = hash01(i, 3, seed)
            if kind < 0.4:
                inside = line(math.hypot((x - cx) * w / h, y - cy), size, small)
            elif kind < 0.8:
                inside = line(abs(x - cx), size, small) * line(abs(y - cy), 0.6 * size, small)
            else:
                inside = line(abs((x - cx) + (y - cy) * (2 * kind - 1.6)), 0.02, small)
            r, g, b = mix(r, g, b, m, 1 + i % 2, 0.85 * inside)
            if i % 3 == 2:
                r, g, b = scaled(r, g, b, 1 - 0.6 * inside)
        brush = noise(x * 40, y * 40, seed) * visible(40 / h, fp)
    return scaled(r, g, b, 1 + 0.12 * brush + 0.10 * grit(u, v, 45.0, 3, fp, seed))


@jit
def text(u, v, fp, size, seed):
    """Coverage of lines of invented writing with that line height."""
    row, column = math.floor(v / size), math.floor(u / (0.3 * size))
    if hash01(math.floor(column / 5), row, seed) < 0.18 or hash01(column, row, seed + 1) < 0.15:
        return 0.0
    y, x = v / size - row, u / (0.3 * size) - column
    part = hash01(column * 3 + int(x * 3), row * 4 + int(y * 4), seed + 2) > 0.4
    return (1.0 if part and 0.25 < y < 0.8 else 0.0) * visible(2.0 / size, fp) + 0.3 * (1 - visible(2.0 / size, fp))


@jit
def book(u, v, fp, m, w, h):
    """Cloth binding in colour 0 with bands and a title in colour 1."""
    y = v / h
    r, g, b = m[0], m[1], m[2]
    first, second = 0.07 + 0.1 * hash01(1, 1, m[11]), 0.78 + 0.12 * hash01(2, 1, m[11])
    r, g, b = mix(r, g, b, m, 1, line(abs(y - first), 0.012, fp / h) + line(abs(y - second), 0.016, fp / h))
    if 0.32 < y < 0.72 and abs(u - 0.5 * w) < 0.36 * w:
        r, g, b = mix(r, g, b, m, 1, 0.9 * text(v, u, fp, max(0.008, 0.5 * min(w, 0.06)), m[11]))
    return scaled(r, g, b, 1 + 0.10 * grit(u, v, 60.0, 3, fp, m[11]))


@jit
def carton(u, v, fp, m, w, h):
    """Cardboard in colour 0, tape in colour 1, and a printed label in colour 2 with dark writing."""
    r, g, b = scaled(
        m[0], m[1], m[2], 1 + 0.06 * grit(u, v, 20.0, 4, fp, m[11]) + 0.05 * visible(250.0, fp) * noise(u * 250, 1, 1)
    )
    r, g, b = mix(r, g, b, m, 1, 0.7 * line(abs(u - 0.5 * w), 0.09 * min(w, h), fp))
    left, low = 0.08 * w, 0.12 * h
    x, y = (u - left) / (0.34 * w), (v - low) / (0.42 * h)
    if 0 < x < 1 and 0 < y < 1:
        r, g, b = m[6], m[7], m[8]
        if y < 0.35:
            bars = 1.0 if hash01(math.floor(x * 40), 0, m[11]) > 0.5 and 0.08 < x < 0.92 and y > 0.06 else 0.0
            sharp = visible(40 / (0.34 * w), fp)
            ink = bars * sharp + 0.5 * (1 - sharp)
        else:
            ink = text(u, v, fp, 0.09 * h, m[11] + 1)
        r, g, b = scaled(r, g, b, 1 - 0.85 * ink)
    return r, g, b


@jit
def view(u, v, fp, m, w, h):
    """Outside: sky (colour 0), far hills (1) and trees (2), hazy."""
    x, y = u / w, v / h
    cloud = max(0.0, noise(x * 3, y * 5, m[11]) + 0.5 * noise(x * 7, y * 11, m[11] + 1))
    r, g, b = m[0] * (1 - 0.2 * y) + 0.3 * cloud, m[1] * (1 - 0.12 * y) + 0.28 * cloud, m[2] + 0.2 * cloud
    hill = 0.34 + 0.06 * noise(x * 3, 1, m[11] + 2)
    r, g, b = mix(r, g, b, m, 1, 0.75 * line(y, hill, fp / h))
    crown = 0.24 + 0.10 * noise(x * 7, 2, m[11] + 3) + 0.04 * noise(x * 31, 3, m[11] + 4)
    tree = line(y, crown, fp / h)
    r, g, b = mix(r, g, b, m, 2, tree)
    return scaled(r, g, b, 1 + 0.35 * tree * (noise(x * 30, y * 30, m[11]) + 0.6 * noise(x * 70, y * 70, m[11])))


@jit
def screen(u, v, fp, m, w, h):
    """A desktop: wallpaper from colour 0 to 1, windows in colour 2 with writing."""
    x, y = u / w, v / h
    r, g, b = mix(m[0], m[1], m[2], m, 1, min(1.0, max(0.0, 0.5 * x + 0.5 * y + 0.25 * noise(x * 3, y * 3, m[11]))))
    for i in range(2):
        left, low = 0.06 + 0.42 * i + 0.05 * hash01(i, 1, m[11]), 0.16 + 0.1 * hash01(i, 2, m[11])
        p, q = (x - left) / 0.4, (y - low) / 0.62
        if 0 < p < 1 and 0 < q < 1:
            r, g, b = mix(r, g, b, m, 2, 1.0)
            ink = 0.75 if q > 0.92 else text(u, v, fp, 0.045 * h, m[11] + i) * (1.0 if 0.05 < p < 0.93 else 0.0)
            r, g, b = scaled(r, g, b, 1 - 0.8 * ink)
    return r, g, b
