"""Procedural textures: the colour of a surface at (u, v) metres, a pure function of the point.

``fp`` is the pixel's footprint in metres, ``m`` a material row (patterns.py), ``w`` and ``h`` the extent of the surface
in metres; each returns linear red, green and blue.
"""

import math

from .materials import Texture
from .patterns import grit, hash01, jit, line, mix, noise, scaled, visible
from .prints import book, carton, picture, screen, view


@jit
def paint(u, v, fp, m):
    """Colour 0 with roller marks."""
    t = m[10] * (0.7 * noise(u * 2.3, v * 2.3, m[11]) + grit(u, v, 19.0, 4, fp, m[11] + 7))
    return scaled(m[0], m[1], m[2], 1 + t)


@jit
def wallpaper(u, v, fp, m):
    """Colour 0 paper printed in colours 1 and 2: stripes, flowers or a trellis."""
    s, r, g, b = m[9], m[0], m[1], m[2]
    variant = int(m[11]) % 3
    if variant == 0:
        x = u - s * math.floor(u / s)
        r, g, b = mix(r, g, b, m, 1, line(abs(x - 0.5 * s), 0.23 * s, fp))
        r, g, b = mix(r, g, b, m, 2, line(abs(abs(x - 0.5 * s) - 0.30 * s), 0.02 * s, fp))
    elif variant == 1:
        column = math.floor(u / s)
        x, y = u / s - column - 0.5, v / s + 0.5 * (column % 2)
        row = math.floor(y)
        y = y - row - 0.5
        turn = 6.28 * hash01(column, row, m[11])
        radius, angle = math.hypot(x, y), math.atan2(y, x) + turn
        r, g, b = mix(r, g, b, m, 1, line(radius, 0.24 + 0.09 * math.cos(5 * angle), fp / s))
        r, g, b = mix(r, g, b, m, 2, line(radius, 0.08, fp / s))
        r, g, b = mix(r, g, b, m, 1, line(math.hypot(abs(x) - 0.5, abs(y) - 0.25), 0.045, fp / s))
    else:
        x, y = (u + 0.5 * v) / s, (u - 0.5 * v) / s
        x, y = abs(x - math.floor(x) - 0.5), abs(y - math.floor(y) - 0.5)
        r, g, b = mix(r, g, b, m, 1, line(min(x, y), 0.05, fp / s))
        r, g, b = mix(r, g, b, m, 2, line(math.hypot(x - 0.5, y - 0.5), 0.13, fp / s))
        r, g, b = mix(r, g, b, m, 2, line(math.hypot(x, y), 0.09, fp / s))
    return scaled(r, g, b, 1 + m[10] * (0.5 * noise(u * 1.7, v * 1.7, 5) + grit(u, v, 23.0, 4, fp, m[11])))


@jit
def brick(u, v, fp, m):
    """Running bond: bricks from colour 0 to 1, mortar in colour 2."""
    high, wide = m[9], 3.1 * m[9]
    row = math.floor(v / high)
    x = u / wide + 0.5 * (row % 2)
    column = math.floor(x)
    du, dv = wide * min(x - column, column + 1 - x), min(v - row * high, (row + 1) * high - v)
    wobble = 0.0025 * noise(u * 40, v * 40, 3)
    mortar = line(min(du, dv) + wobble, 0.006, fp)
    r, g, b = mix(m[0], m[1], m[2], m, 1, hash01(column, row, m[11]))
    r, g, b = scaled(r, g, b, 0.8 + 0.4 * hash01(column, row, m[11] + 1) + 0.16 * grit(u, v, 30.0, 4, fp, m[11]))
    r, g, b = mix(r, g, b, m, 2, mortar)
    return scaled(r, g, b, 1 + 0.08 * mortar * grit(u, v, 60.0, 2, fp, 9))


@jit
def grain(u, v, fp, m, seed):
    """Wood from colour 0 to 1 with its fibres along u: year rings of uneven width, pores, a soft figure."""
    warp = noise(u * 0.9, v * 3.0, seed) + 0.35 * noise(u * 3.1, v * 9.0, seed + 1)
    phase = v / m[9] + 1.1 * warp
    dense = 0.5 + 0.5 * noise(math.floor(phase), 0.5, seed + 6)
    rings = (phase - math.floor(phase)) ** 2 * dense
    rings = 0.3 + (rings - 0.3) * visible(0.7 / m[9], fp)
    streak = visible(130.0, fp) * noise(u * 6.0, v * 130.0, seed + 2) + visible(50.0, fp) * noise(
        u * 4.0, v * 50.0, seed + 3
    )
    pores = noise(u * 33.0, v * 95.0, seed + 4) * visible(60.0, fp)
    figure = noise(u * 1.7, v * 7.0, seed + 5)
    r, g, b = mix(m[0], m[1], m[2], m, 1, min(1.0, max(0.0, 0.25 + 0.55 * rings + 0.18 * figure)))
    return scaled(r, g, b, 1 + m[10] * (0.55 * streak + 0.5 * pores))


@jit
def planks(u, v, fp, m):
    """Floor boards along u, each its own piece of wood; dark joints."""
    wide, long = 0.13, 1.15
    row = math.floor(v / wide)
    x = u / long + hash01(row, 3, m[11])
    column = math.floor(x)
    edge = min(min(v - row * wide, (row + 1) * wide - v), long * min(x - column, column + 1 - x))
    tone = hash01(column, row, m[11])
    r, g, b = grain(u + 10 * tone, v, fp, m, m[11] + int(977 * tone))
    r, g, b = scaled(r, g, b, 0.82 + 0.36 * tone)
    return scaled(r, g, b, 1 - 0.7 * line(edge, 0.0018, fp))


@jit
def tiles(u, v, fp, m):
    """Square tiles in colours 0 and 1 (chequered for odd seeds), joints in colour 2, cloudy glaze."""
    s = m[9]
    column, row = math.floor(u / s), math.floor(v / s)
    x, y = u / s - column, v / s - row
    edge = s * min(min(x, 1 - x), min(y, 1 - y))
    tone = hash01(column, row, m[11])
    second = float((column + row) % 2) if int(m[11]) % 2 else 0.25 * tone
    r, g, b = mix(m[0], m[1], m[2], m, 1, second)
    vein = abs(noise(u * 5 + 3 * tone, v * 5, m[11] + 2) + 0.5 * noise(u * 14, v * 14, m[11] + 3))
    cloud = 0.4 * noise(u * 9 + 7 * tone, v * 9, m[11]) + grit(u, v, 26.0, 3, fp, m[11] + 5)
    r, g, b = scaled(r, g, b, (0.92 + 0.16 * tone) * (1 + m[10] * cloud - 0.18 * line(vein, 0.05, 10 * fp)))
    return mix(r, g, b, m, 2, line(edge, 0.0028, fp))


@jit
def carpet(u, v, fp, m):
    """Pile mixed from colours 0 and 1."""
    pile = grit(u, v, 34.0, 4, fp, m[11])
    r, g, b = mix(m[0], m[1], m[2], m, 1, min(1.0, max(0.0, 0.5 + 0.45 * pile)))
    return scaled(r, g, b, 1 + 0.10 * noise(u * 3.0, v * 3.0, m[11] + 9) + 0.12 * pile)


@jit
def weave(u, v, fp, m):
    """Cloth in colour 0 with threads; by seed plain, striped (1, 2) or plaid (1, 2)."""
    s, r, g, b = m[9], m[0], m[1], m[2]
    variant = int(m[11]) % 4
    if variant == 1 or variant == 2:
        x, y = u / s - math.floor(u / s), v / s - math.floor(v / s)
        r, g, b = mix(r, g, b, m, 1, 0.75 * line(abs(x - 0.5), 0.20, fp / s))
        r, g, b = mix(r, g, b, m, 2, 0.5 * line(abs(x - 0.1), 0.04, fp / s))
        if variant == 2:
            r, g, b = mix(r, g, b, m, 1, 0.55 * line(abs(y - 0.5), 0.20, fp / s))
            r, g, b = mix(r, g, b, m, 2, 0.5 * line(abs(y - 0.1), 0.04, fp / s))
    threads = visible(150.0, fp) * noise(u * 40, v * 150.0, 2) + visible(150.0, fp) * noise(u * 150.0, v * 40, 4)
    return scaled(r, g, b, 1 + m[10] * (0.4 * threads + 0.55 * grit(u, v, 24.0, 3, fp, m[11])))


@jit
def rug(u, v, fp, m, w, h):
    """A woven rug: fringe of borders in colours 1 and 2 around mirrored ornaments on colour 0."""
    x, y = abs(u - 0.5 * w), abs(v - 0.5 * h)
    edge = min(0.5 * w - x, 0.5 * h - y)
    r, g, b = m[0], m[1], m[2]
    s = 0.16
    p = x / s - math.floor(x / s) - 0.5
    q = y / s - math.floor(y / s) - 0.5
    diamond = abs(p) + abs(q)
    pick = hash01(math.floor(x / s), math.floor(y / s), m[11])
    r, g, b = mix(r, g, b, m, 1 + int(2 * pick), line(diamond, 0.38, fp / s))
    r, g, b = mix(r, g, b, m, 0, line(diamond, 0.24, fp / s))
    r, g, b = mix(r, g, b, m, 2 - int(2 * pick), line(diamond, 0.12, fp / s))
    middle = abs(x) / (0.34 * w) + abs(y) / (0.34 * h)
    r, g, b = mix(r, g, b, m, 2, line(abs(middle - 0.5), 0.02, fp / w))
    r, g, b = mix(r, g, b, m, 0, line(middle, 0.36, fp / w))
    r, g, b = mix(r, g, b, m, 1, line(abs(middle - 0.26), 0.05, fp / w))
    r, g, b = mix(r, g, b, m, 2, line(middle, 0.12, fp / w))
    r, g, b = mix(r, g, b, m, 1, line(edge, 0.16, fp))
    along = (x if 0.5 * h - y < 0.5 * w - x else y) / 0.07
    tooth = abs(along - math.floor(along) - 0.5) * 0.1
    r, g, b = mix(r, g, b, m, 2, line(abs(edge - 0.08), 0.008 + 0.6 * tooth, fp))
    r, g, b = mix(r, g, b, m, 0, line(abs(edge - 0.145), 0.008, fp))
    r, g, b = mix(r, g, b, m, 2, line(edge, 0.018, fp))
    return scaled(r, g, b, 1 + 0.14 * grit(u, v, 38.0, 3, fp, m[11]))


@jit
def ceramic(u, v, fp, m, h):
    """Glaze in colour 0 with bands, and dots or zigzag in colour 1."""
    s, r, g, b = m[9], m[0], m[1], m[2]
    y = v / h if h > 0 else 0.5
    r, g, b = mix(
        r, g, b, m, 1, line(abs(y - 0.12), 0.035, fp / max(h, 1e-6)) + line(abs(y - 0.88), 0.035, fp / max(h, 1e-6))
    )
    x = u / s - math.floor(u / s) - 0.5
    if int(m[11]) % 2:
        r, g, b = mix(r, g, b, m, 1, line(math.hypot(x * s, v - 0.5 * h), 0.3 * s, fp))
    else:
        r, g, b = mix(r, g, b, m, 1, line(abs(v - 0.5 * h - s * (abs(x) - 0.25)), 0.14 * s, fp))
    return scaled(r, g, b, 1 + m[10] * grit(u, v, 50.0, 3, fp, m[11]))


@jit
def leaf(u, v, fp, m, w, h):
    """A leaf along v: colour 0 with lighter veins (1)."""
    x = abs(u - 0.5 * w)
    side = (v - 0.8 * x) / 0.022
    vein = line(x, 0.002, fp) + 0.6 * line(abs(side - math.floor(side) - 0.5) * 0.022, 0.0012, fp)
    r, g, b = mix(m[0], m[1], m[2], m, 1, min(1.0, vein))
    return scaled(r, g, b, 1 + 0.2 * grit(u, v, 40.0, 3, fp, m[11]))


@jit
def ball(u, v, fp, m, w, h):
    """Six gores in colours 0, 1 and 2 with seams."""
    x = 6 * u / w
    gore = math.floor(x)
    pick = int(gore) % 3
    r, g, b = m[3 * pick], m[3 * pick + 1], m[3 * pick + 2]
    r, g, b = mix(r, g, b, m, 2, line(min(x - gore, gore + 1 - x) * w / 6, 0.012 * w, fp))
    cap = line(min(v, h - v), 0.12 * h, fp)
    r, g, b = mix(r, g, b, m, 2, cap)
    star = line(math.hypot((x - gore - 0.5) * w / 6, v - 0.5 * h), 0.05 * w, fp)
    r, g, b = mix(r, g, b, m, (pick + 1) % 3, star)
    return scaled(r, g, b, 1 + 0.08 * grit(u, v, 50.0, 3, fp, m[11]))


@jit
def surface_color(kind, u, v, fp, m, w, h):
    """Linear RGB of a material at (u, v) metres on a surface of extent (w, h), for a pixel of footprint fp metres."""
    if kind == Texture.PAINT:
        return paint(u, v, fp, m)
    if kind == Texture.WALLPAPER:
        return wallpaper(u, v, fp, m)
    if kind == Texture.BRICK:
        return brick(u, v, fp, m)
    if kind == Texture.PLANKS:
        return planks(u, v, fp, m)
    if kind == Texture.WOOD:
        return grain(u, v, fp, m, m[11])
    if kind == Texture.TILES:
        return tiles(u, v, fp, m)
    if kind == Texture.CARPET:
        return carpet(u, v, fp, m)
    if kind == Texture.FABRIC:
        return weave(u, v, fp, m)
    if kind == Texture.RUG:
        return rug(u, v, fp, m, w, h)
    if kind == Texture.PICTURE:
        return picture(u, v, fp, m, w, h)
    if kind == Texture.BOOK:
        return book(u, v, fp, m, w, h)
    if kind == Texture.CERAMIC:
        return ceramic(u, v, fp, m, h)
    if kind == Texture.CARTON:
        return carton(u, v, fp, m, w, h)
    if kind == Texture.VIEW:
        return view(u, v, fp, m, w, h)
    if kind == Texture.LEAF:
        return leaf(u, v, fp, m, w, h)
    if kind == Texture.SCREEN:
        return screen(u, v, fp, m, w, h)
    return ball(u, v, fp, m, w, h)
