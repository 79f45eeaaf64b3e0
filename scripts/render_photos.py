"""Render photo-like images of everyday objects, with exact alpha mattes, in plain NumPy.

A small sphere tracer over signed distance fields: a softbox with soft shadows, sky occlusion, a reflected
studio, procedural materials and a defocused room. Points are ``(3, N)`` float32 arrays; y is up.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy import clip, cos, hypot, maximum, minimum, sin
from PIL import Image

Array = np.ndarray
Field = Callable[[Array], Array]  # points (3, N) -> distances or heights (N,), or colours (3, N)
CHUNK, SUPERSAMPLE = 16384, 3
LATTICE = np.random.default_rng(7).random(32**3, dtype=np.float32)
STRIDES = np.array([[1024], [32], [1]], np.int32)


# Vectors and signed distances, a line or two each.
# fmt: off
def vec(*c: float) -> Array: return np.array(c, np.float32).reshape(-1, 1)
def norm(p: Array) -> Array: return np.sqrt((p * p).sum(0))
def at(p: Array, x: float, y: float, z: float) -> Array: return p - vec(x, y, z)
def mix(a: Array | float, b: Array | float, t: Array | float) -> Array: return a + (b - a) * t
def rgb(code: str) -> Array: return (vec(*bytes.fromhex(code)) / 255) ** 2.2  # linear, of an sRGB hex code
def polar(azimuth: float, elevation: float) -> Array:  # azimuth 0 faces the viewer, positive turns right
    a, e = np.radians([azimuth, elevation])
    return vec(sin(a) * cos(e), sin(e), cos(a) * cos(e))
def ramp(a: float | Array, b: float | Array, x: Array) -> Array:  # smooth step from 0 at a to 1 at b
    t = clip((x - a) / (b - a), 0, 1)
    return t * t * (3 - 2 * t)
def fold(p: Array, axes: str) -> Array:  # mirror symmetry
    return np.stack([abs(c) if axis in axes else c for axis, c in zip("xyz", p, strict=True)])
def sector(p: Array, n: int) -> Array:  # n-fold symmetry about the y axis, seen in the sector of +x
    r, a = hypot(p[0], p[2]), np.arctan2(p[2], p[0]) % (2 * np.pi / n) - np.pi / n
    return np.stack([r * cos(a), p[1], r * sin(a)])
def blend(k: float, *solids: Array) -> Array:  # union with fillets of width k
    return functools.reduce(lambda a, b: minimum(a, b) - maximum(k - abs(a - b), 0) ** 2 / (4 * k), solids)
def ellipsoid(p: Array, *radii: float) -> Array:
    k = norm(p / vec(*radii))
    return k * (k - 1) / maximum(norm(p / vec(*radii) ** 2), 1e-6)
def box(p: Array, half: tuple[float, ...], fillet: float) -> Array:
    q = abs(p) - vec(*half) + fillet
    return norm(maximum(q, 0)) + minimum(q.max(0), 0) - fillet
def disc(along: Array, x: Array, y: Array, half: float, radius: float, fillet: float) -> Array:
    return box(np.stack([along, hypot(x, y)]), (half, radius), fillet)
def rod(p: Array, a: Array, b: Array, r0: float, r1: float) -> Array:  # round, tapered, from a to b
    t = clip(((p - a) * (b - a)).sum(0) / ((b - a) ** 2).sum(), 0, 1)
    return norm(p - a - (b - a) * t) - mix(r0, r1, t)
def handle(p: Array, x: float, y: float, size: float, straight: float) -> Array:
    q = hypot(p[0] - x, maximum(abs(p[1] - y) - straight, 0)) - size
    return hypot(q, p[2] * 0.7) - 0.062
# fmt: on


def noise(p: Array, octaves: int = 1) -> Array:
    """Smooth value noise in 0..1."""
    cell = np.floor(p)
    f, i = ramp(0, 1, p - cell), cell.astype(np.int32)
    (x0, y0, z0), (x1, y1, z1) = (i & 31) * STRIDES, (i + 1 & 31) * STRIDES
    rods = [mix(LATTICE[x0 + y + z], LATTICE[x1 + y + z], f[0]) for y in (y0, y1) for z in (z0, z1)]
    value = mix(mix(rods[0], rods[1], f[2]), mix(rods[2], rods[3], f[2]), f[1])
    return value if octaves == 1 else mix(value, noise(p * 2.03 + 17.3, octaves - 1), 0.4)


def cells(p: Array) -> tuple[Array, Array]:
    """Distance to the nearest point of a jittered lattice, and that point's random number."""
    corner = np.floor(p - 0.5)
    near, tag = np.full(p.shape[1], 9, np.float32), np.zeros(p.shape[1], np.float32)
    for step in np.ndindex(2, 2, 2):
        cell = corner + vec(*step)
        k = ((cell.astype(np.int32) & 31) * STRIDES).sum(0)
        r = norm(p - cell - 0.15 - 0.7 * np.stack([LATTICE[k - j] for j in (1, 2, 3)]))
        near, tag = minimum(near, r), np.where(r < near, LATTICE[k], tag)
    return near, tag


@functools.cache
def lathe(profile: str) -> Field:
    """Solid turned from a spline through "radius height, ..."; an exclamation mark makes a sharp corner."""
    words = profile.split(",")
    pts, sharp = np.array([w.strip(" !").split() for w in words], float), np.array([["!" in w] for w in words])
    a = np.where(sharp[:-1], pts[:-1], np.vstack([pts[1] * (-1, 1), pts[:-2]]))[:, None]
    d = np.where(sharp[1:], pts[1:], np.vstack([pts[2:], pts[-2] * (-1, 1)]))[:, None]
    b, c, t = pts[:-1, None], pts[1:, None], np.linspace(0, 1, 32, endpoint=False)[:, None]
    line = b + t / 2 * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * b - a - 3 * c + d)))  # Catmull-Rom
    line = np.vstack([line.reshape(-1, 2), pts[-1]]).astype(np.float32)
    (_, low), (right, high) = line.min(0) - 0.15, line.max(0) + 0.15
    step = float(max(right, high - low)) / 480
    y, r = np.mgrid[low:high:step, 0:right:step].astype(np.float32)
    best, inside = np.full(r.shape, np.inf, np.float32), np.zeros(r.shape, bool)
    for (r0, y0), (dr, dy) in zip(line, np.diff(line, axis=0), strict=False):
        u, v = r - r0, y - y0
        k = clip((u * dr + v * dy) / (dr * dr + dy * dy + 1e-12), 0, 1)
        best = minimum(best, (u - k * dr) ** 2 + (v - k * dy) ** 2)
        inside ^= ((v >= 0) != (v >= dy)) & (u * abs(dy) < v * dr * np.sign(dy))
    table, (rows, columns) = np.where(inside, -np.sqrt(best), np.sqrt(best)).ravel(), r.shape

    def field(p: Array) -> Array:
        u, v = hypot(p[0], p[2]) / step, (p[1] - low) / step
        x, y = clip(u, 0, columns - 1.01), clip(v, 0, rows - 1.01)
        k = y.astype(np.int32) * columns + x.astype(np.int32)
        lower, upper = (mix(table[i], table[i + 1], x % 1) for i in (k, k + columns))
        near, away = mix(lower, upper, y % 1), hypot(u - x, v - y) * step
        return np.where(away > 0, hypot(near, away), near)

    return field


def mottled(a: str, b: str, *scale: float, warp: float = 0.0) -> Field:
    """Cloudy mixture of two colours; stretched by three scales and warped, it is a grain."""

    def color(p: Array) -> Array:
        q = p * vec(*scale)
        return mix(rgb(a), rgb(b), ramp(0.25, 0.75, noise(q + warp * noise(q * 0.3, 2), 4)))

    return color


def planks(dark: str, light: str, width: float = 0.9) -> Field:
    """Boards running left to right."""

    def color(p: Array) -> Array:
        z = p[2] / width + 0.37
        row = np.floor(z)
        q = np.stack([p[0] * 0.8 + row * 7.3, row * 3.7, p[2] * 9])
        figure = noise(q + 1.4 * noise(p * vec(0.9, 0, 2), 2), 3) + 0.35 * noise(q * vec(4, 1, 9), 2) - 0.2
        tone = figure + 0.25 * noise(vec(3.7, 1.3, 0) * row)
        return mix(rgb(dark), rgb(light), tone) * mix(0.35, 1, ramp(0.5, 0.48, abs(z - row - 0.5)))

    return color


def specks(p: Array, scale: float, size: float = 0.3) -> Array:
    """Scattered spots of varied size, 0..1."""
    near, tag = cells(p * scale + 0.3 * noise(p * scale * 4))
    return ramp(0.06, -0.04, near - size * tag**4) * (tag > 0.3)


@dataclass(frozen=True)
class Part:
    """A solid and its surface: colour (hex or field), roughness, metalness, translucency and bump height."""

    solid: Field
    color: str | Field
    rough: float = 0.3
    metal: float = 0.0
    wrap: float = 0.12
    bump: Field = lambda p: p[0] * 0


@dataclass(frozen=True)
class Scene:
    """Parts standing on the floor y = 0 within a bounding sphere, and how they are photographed."""

    parts: list[Part]
    bound: tuple[float, float]  # height of the centre, radius
    aspect: tuple[int, int]
    camera: tuple[float, float, float]  # azimuth, elevation, distance
    floor: Field
    backdrop: str  # colours of the room's blurred masses, the first is the base
    bokeh: str = ""  # colours of its lights
    gloss: float = 0.35  # of the floor

    def distance(self, p: Array) -> Array:
        return functools.reduce(minimum, [part.solid(p) for part in self.parts])


KEY, SUN, SKY = polar(-48, 36), vec(2.1, 1.98, 1.8), vec(0.5, 0.54, 0.6)  # the softbox, its light, the fill


def march(scene: Scene, o: Array, d: Array, width: float = 0.0) -> tuple[Array, Array]:
    """Sphere-trace rays: distance to the object or infinity, and the share of a light that wide they see."""
    q = o - vec(0, scene.bound[0], 0)
    b = (q * d).sum(0)
    root = b * b - (q * q).sum(0) + (scene.bound[1] + width) ** 2
    s = np.sqrt(maximum(root, 0))
    t, end = maximum(-b - s, 0.015), np.where(root > 0, minimum(s - b, o[1] / maximum(-d[1], 1e-6)), -1)
    hit, seen, live = np.full(t.shape, np.inf, np.float32), np.ones(t.shape, np.float32), np.flatnonzero(t < end)
    for _ in range(36 if width else 110):
        h = scene.distance(o[:, live] + (d[:, live] if d.shape[1] > 1 else d) * t[live])
        seen[live] = minimum(seen[live], h / (maximum(width, 1e-3) * t[live]))
        done = seen[live] < -1 if width else h < 4e-4 * t[live]
        hit[live[done]] = t[live[done]]
        t[live] += clip(0.8 * h, 0.012, 0.3) if width else 0.9 * h
        live = live[~done & (t[live] < end[live])]
        if not live.size:
            break
    seen = clip(seen, -1, 1)
    return hit, (1 + seen) ** 2 * (2 - seen) / 4


def studio(d: Array, rough: Array, walls: Array, ground: Array) -> Array:
    """Radiance from direction d, blurred by roughness: walls, the softbox behind a window frame, floor."""
    side, front = vec(KEY[2, 0], 0, -KEY[0, 0]) / hypot(KEY[0], KEY[2]), maximum((d * KEY).sum(0), 0.01)
    x, y = (abs((d * axis).sum(0)) / front for axis in (side, np.cross(KEY, side, axis=0)))
    s = 0.03 + 0.8 * rough
    bars = mix(ramp(0, 0.035, minimum(x, y)), 1, clip(rough * 4, 0, 1))
    pane = 14 / (1 + 14 * rough) * ramp(-s, s, 0.45 - x) * ramp(-s, s, 0.62 - y) * bars
    room = (
        mix(walls * 0.5 + 0.06, SKY, ramp(-0.2, 1.0, d[1]))
        + pane
        + 2 * (1 - rough) * ramp(0.75, 1, (d * polar(105, 25)).sum(0))
    )
    return mix(room, ground, ramp(0.08 + rough * 0.4, -0.08 - rough * 0.4, d[1]))


def shade(scene: Scene, p: Array, view: Array) -> Array:
    """Radiance leaving points p of the object towards the camera (along -view)."""
    owner = np.stack([part.solid(p) for part in scene.parts]).argmin(0)
    n, base, (rough, metal, wrap) = np.zeros_like(p), np.zeros_like(p), np.zeros_like(p)
    for k, part in enumerate(scene.parts):
        i = np.flatnonzero(owner == k)
        for corner in (vec(1, -1, -1), vec(-1, -1, 1), vec(-1, 1, -1), vec(1, 1, 1)):
            e = p[:, i] + corner * 0.006
            n[:, i] += corner * (scene.distance(e) + part.bump(e))
        base[:, i] = rgb(part.color) if isinstance(part.color, str) else part.color(p[:, i])
        rough[i], metal[i], wrap[i] = part.rough, part.metal, part.wrap
    n /= maximum(norm(n), 1e-9)
    taps = [(h, minimum(scene.distance(p + n * h), p[1] + n[1] * h)) for h in (0.03, 0.08, 0.18, 0.36)]
    ambient = 1 - sum(clip(1 - free / h, 0, 1) for h, free in taps) / len(taps)
    seen = mix(march(scene, p + n * 0.012, KEY, 0.12)[1], 1, wrap * 0.4)
    sun = clip(((n * KEY).sum(0) + wrap) / (1 + wrap), 0, 1) * seen
    ground = scene.floor(p * vec(1, 0, 1)).mean(1, keepdims=True) * (0.35 + 0.9 * ramp(0, 1.2, p[1]))
    sky = mix(ground * 0.9, SKY, 0.5 + 0.5 * n[1]) * ambient
    facing, f0 = clip(-(n * view).sum(0), 0, 1), mix(0.045, base, metal)
    fresnel = f0 + maximum(1 - rough - f0, 0) * (1 - facing) ** 5
    mirror = studio(view + 2 * facing * n, rough, rgb(scene.backdrop[:6]), ground) * mix(ambient, 1, 0.25)
    return base * (SUN * sun + sky) * (1 - metal) * (1 - fresnel) + mirror * fresnel


def sample(scene: Scene, o: Array, d: Array) -> tuple[Array, Array]:
    """Radiance of the object along rays, and whether they hit it."""
    color, hits, o = np.zeros(d.shape, np.float32), np.zeros(d.shape[1], np.float32), np.broadcast_to(o, d.shape)
    for k in range(0, d.shape[1], CHUNK):
        t, _ = march(scene, o[:, k : k + CHUNK], d[:, k : k + CHUNK])
        hit = np.flatnonzero(np.isfinite(t))
        if hit.size:
            i = hit + k
            color[:, i], hits[i] = shade(scene, o[:, i] + d[:, i] * t[hit], d[:, i]), 1
    return minimum(color, 6), hits


def resize(a: Array, width: int, height: int) -> Array:
    """Resample the planes of a (C, H, W) array."""
    return np.stack([Image.fromarray(x.astype(np.float32)).resize((width, height), 3) for x in a])


def blur(a: Array, scale: float) -> Array:
    """Soften by shrinking and enlarging."""
    h, w = a.shape[1:]
    return resize(resize(a, max(2, round(w / scale)), max(2, round(h / scale))), w, h)


def room(scene: Scene, w: int, h: int, rng: np.random.Generator) -> Array:
    """A backdrop far out of focus: soft masses of colour and discs of light."""
    s, (y, x) = max(w, h), np.mgrid[:h, :w].astype(np.float32)
    base, *masses = (rgb(code)[:, :, None] for code in scene.backdrop.split())
    out = base * mix(1.25, 0.75, y / h)
    for color in masses * 3:
        (cx, cy, rx, ry), power = rng.uniform((0, 0, 0.05, 0.1), (1, 0.6, 0.2, 0.4)), rng.choice((2, 8))
        mass = ramp(1, 0.8, (abs(x / w - cx) / rx) ** power + (abs(y / h - cy) / ry) ** power)
        out = mix(out, color * rng.uniform(0.6, 1.3), mass * rng.uniform(0.5, 0.95))
    out = blur(out, s / 28)
    for code in scene.bokeh.split() * 6:
        cx, cy, r = rng.uniform((0, 0, s * 0.02), (w, h * 0.5, s * 0.05))
        away = hypot(x - cx, y - cy) / r
        light = ramp(1.06, 0.94, away) * (0.7 + 0.3 * minimum(away, 1) ** 4) * rng.uniform(0.03, 0.3)
        out = out + rgb(code)[:, :, None] * light
    return blur(out, s / 300)


def render(name: str, size: int, seed: int = 0) -> tuple[Image.Image, Image.Image]:
    """Photograph a scene with the given long side; returns the RGB image and the object's exact alpha."""
    scene, rng = SCENES[name], np.random.default_rng([seed, *name.encode()])
    w, h = (round(size * a / max(scene.aspect)) for a in scene.aspect)
    (azimuth, elevation, far), (middle, radius) = scene.camera, scene.bound
    ahead, right = -polar(azimuth, elevation), polar(azimuth + 90, 0)
    eye, above = vec(0, middle, 0) - ahead * far, np.cross(right, ahead, axis=0)

    def rays(x: Array, y: Array) -> Array:
        d = ahead + (right * (x - w / 2) - above * (y - h / 2)) * (0.47 / size)
        return (d / norm(d)).astype(np.float32)

    # The object: one ray per pixel, then more where neighbours differ.
    y, x = (g.ravel() + 0.5 for g in np.mgrid[:h, :w].astype(np.float32))
    view = rays(x, y)
    color, alpha = sample(scene, eye, view)
    tone = np.vstack([np.sqrt(color), alpha[None]]).reshape(4, h, w)
    edge = np.flatnonzero(np.max([abs(g).max(0) for g in np.gradient(tone, axis=(1, 2))], axis=0) > 0.04)
    dy, dx = ((g.reshape(-1, 1) + 0.5) / SUPERSAMPLE - 0.5 for g in np.mgrid[:SUPERSAMPLE, :SUPERSAMPLE])
    fine, cover = sample(scene, eye, rays((x[edge] + dx).ravel(), (y[edge] + dy).ravel()))
    color[:, edge], alpha[edge] = fine.reshape(3, dx.size, -1).mean(1), cover.reshape(dx.size, -1).mean(0)
    color, alpha = color.reshape(3, h, w), alpha.reshape(h, w)

    # The floor: texture at full size, its light and reflections at half, blurred away from the focal plane.
    behind, t = room(scene, w, h, rng), minimum(eye[1] / maximum(-view[1], 1e-3), 60)
    p = eye + view * t
    table = ramp(4.02, 4, -(p * polar(azimuth, 0)).sum(0))
    texture, table = (scene.floor(p * vec(1, 0, 1)) * table).reshape(3, h, w), table.reshape(1, h, w)
    d = rays(*(g.ravel() * 2 + 1 for g in np.mgrid[: w // 2, : h // 2].astype(np.float32).swapaxes(1, 2)))
    p = (eye + d * minimum(eye[1] / maximum(-d[1], 1e-3), 60)) * vec(1, 0, 1) + vec(0, 0.002, 0)
    sky, sun = (march(scene, p, axis, width)[1] for axis, width in ((vec(0, 1, 0), 0.9), (KEY, 0.2)))
    mirror, hits = sample(scene, p, d * vec(1, -1, 1))
    mirror += behind[:, : h // 2].mean((1, 2))[:, None] * (1 - hits)
    mirror *= scene.gloss * (0.06 + (1 - abs(d[1])) ** 5) * mix(sky, 1, 0.5)
    light, mirror = (resize(a.reshape(3, h // 2, w // 2), w, h) for a in (SUN * KEY[1] * sun + SKY * sky, mirror))
    layer = focus = np.vstack([texture * light + blur(mirror, size / 60 * (1 - scene.gloss)) * table, table])
    level = np.log2(1 + maximum(abs(t - far) - radius * 0.6, 0) / t * size * 0.05).reshape(h, w)
    for k in range(1, 7):
        focus = mix(focus, blur(layer, 2**k), clip(level - k + 1, 0, 1))
    image = color + (1 - alpha) * (focus[:3] + (1 - focus[3]) * behind)

    # The camera: bloom, vignette, film curve and grain.
    image += 0.1 * blur(maximum(image - 0.9, 0), size / 40)
    y, x = np.mgrid[-1 : 1 : h * 1j, -1 : 1 : w * 1j]
    image *= 0.75 - 0.1 * (x * x + y * y)
    image = image * (2.51 * image + 0.03) / (image * (2.43 * image + 0.59) + 0.14)
    image = maximum(image, 0) ** (1 / 2.2) + blur(rng.normal(0, 0.014, (1, h, w)), 1.3)
    pixels = (clip(image, 0, 1) * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0)
    return Image.fromarray(pixels), Image.fromarray((alpha * 255 + 0.5).astype(np.uint8))


# Shapes and colours too long for a line of the table below.
# fmt: off
def apple_skin(p: Array) -> Array:
    around, r = p * vec(1, 0, 1) / norm(p * vec(1, 0, 1)), hypot(p[0], p[2])
    streaks = noise(around * 11 + p * vec(1, 1.5, 1), 3)
    blush = ramp(0.25, 0.6, streaks * 0.3 + 0.6 * noise(p * 1.5 + 3.3) - 0.2 * p[0])
    blush *= ramp(0.1, 0.35, r + streaks / 7)
    red = mix(rgb("c63a2c"), rgb("8c1420"), ramp(0.3, 0.75, streaks))
    return mix(mix(rgb("d2b04e"), red, blush), rgb("e4bc80"), 0.5 * specks(p, 15, 0.12))
def leaf(p: Array) -> Array:
    x, y, z = at(p, 0.3, 1.24, 0.08)
    return ellipsoid(np.stack([x, y + 0.45 * x + 0.9 * x * x - 0.5 * abs(z), z]), 0.3, 0.02, 0.12) * 0.6
def chair(p: Array) -> Array:
    back, arm = at(p, 0, 0.86, -0.5) + vec(0, 0, 0.15) * (p[1] - 0.86), at(fold(p, "x"), 0.66, 0.52, 0.02)
    frame = minimum(box(at(p, 0, 0.36, 0), (0.64, 0.14, 0.56), 0.06), box(back, (0.66, 0.48, 0.15), 0.13))
    seat = box(at(p, 0, 0.55, 0.1), (0.5, 0.14, 0.54), 0.1) - 0.05 * np.exp(-5 * norm(at(p, 0, 0.6, 0.1)) ** 2)
    pillow = box(at(back, 0, 0.06, 0.2), (0.47, 0.36, 0.13), 0.12) - 0.05 * np.exp(-5 * norm(back) ** 2)
    return minimum(minimum(frame, seat), minimum(pillow, box(arm, (0.15, 0.3, 0.6), 0.14)))
def chair_leg(p: Array) -> Array:
    x, y, z = at(fold(p, "xz"), 0.58, 0.12, 0.48)
    return disc(y, x - 0.1 * y, z - 0.1 * y, 0.12, 0.045, 0.01)
def cactus(p: Array) -> Array:
    x, _, z = sector(p, 13)
    rib = minimum(abs(z) / maximum(x, 0.05) / 0.24, 1) ** 2
    return (ellipsoid(at(p, 0, 1.2, 0), 0.37, 0.66, 0.37) + 0.07 * rib * ramp(0, 0.3, x)) * 0.75
def thorns(p: Array) -> Array:
    row = np.round(p[1] / 0.12) * 0.12
    q = abs(sector(p, 13) - np.stack([0.365 * np.sqrt(maximum(1 - ((row - 1.2) / 0.66) ** 2, 0)), row, 0 * row]))
    spikes = [rod(q, vec(0, 0, 0), tip, 0.008, 0.002) for tip in (vec(0.09, 0, 0), vec(0.05, 0.035, 0.05))]
    return maximum(minimum(*spikes), abs(p[1] - 1.2) - 0.56)
def flower(p: Array) -> Array:
    x, y, z = at(sector(p, 9), 0.13, 1.9, 0)
    petal = ellipsoid(np.stack([x, y - 2.8 * (x + 0.08) ** 2, z]), 0.16, 0.025, 0.06) * 0.6
    return minimum(petal, ellipsoid(at(p, 0, 1.85, 0), 0.06, 0.09, 0.06))
def cabin(p: Array) -> Array:
    x = (p[0] + 0.12) * (1 + 0.55 * maximum(p[1] - 0.45, 0))
    return box(np.stack([x, p[1] - 0.58, p[2]]), (0.56, 0.24, 0.38), 0.16) * 0.85
def car_body(p: Array) -> Array:
    arch = maximum(hypot(abs(p[0]) - 0.58, p[1] - 0.2) - 0.25, 0.22 - abs(p[2]))
    return maximum(blend(0.08, box(at(p, 0, 0.34, 0), (0.98, 0.19, 0.43), 0.17), cabin(p)), -arch)
def car_paint(p: Array) -> Array:
    return mix(rgb("1f8f8a"), rgb("f0e6d2"), ramp(0.735, 0.745, p[1]) + ramp(0.012, 0.006, abs(p[1] - 0.4)))
def car_glass(p: Array) -> Array:
    x, y = abs(p[0] + 0.12), p[1] - 0.62
    side, front = box(np.stack([x - 0.21, y]), (0.165, 0.09), 0.05), box(np.stack([p[2], y]), (0.25, 0.095), 0.05)
    return maximum(cabin(p) - 0.006, minimum(side, maximum(front, 0.36 - x)))
def wheel(p: Array, half: float, radius: float) -> Array:
    return disc(abs(p[2]) - 0.36, abs(p[0]) - 0.58, p[1] - 0.2, half, radius, 0.03)
def chrome(p: Array) -> Array:
    x, y, z = at(fold(p, "z"), 0.95, 0.4, 0.27)
    bumper = box(at(fold(p, "x"), 0.97, 0.24, 0), (0.05, 0.05, 0.4), 0.045)
    return minimum(minimum(bumper, hypot(hypot(y, z) - 0.085, x) - 0.022), wheel(p, 0.095, 0.115))
def duck(p: Array) -> Array:
    tail, head = rod(p, vec(-0.45, 0.5, 0), vec(-0.8, 0.8, 0), 0.22, 0.05), norm(at(p, 0.36, 1.02, 0)) - 0.37
    body = blend(0.16, ellipsoid(at(p, 0, 0.38, 0), 0.68, 0.42, 0.52), head, tail)
    return blend(0.04, body, ellipsoid(at(fold(p, "z"), -0.12, 0.48, 0.45), 0.38, 0.2, 0.13))
def eye(p: Array, radius: float, out: float) -> Array:
    return norm(fold(p, "z") - vec(0.36, 1.02, 0) - vec(0.72, 0.34, 0.6) * out) - radius
def beak(p: Array) -> Array:
    x, y, z = at(p, 0.76, 0.97, 0)
    upper, lower = ellipsoid(np.stack([x, y - x * x / 2, z]), 0.22, 0.055, 0.18), at(p, 0.73, 0.91, 0)
    return blend(0.02, upper, ellipsoid(lower, 0.16, 0.04, 0.13))
def mug(p: Array) -> Array:
    cup = lathe("0 .03, .36 .03!, .4 0, .45 .03, .57 .25, .6 .5, .57 .85, .515 1.09, .5 1.12, .48 1.09, .53 .85,"
                ".55 .5, .45 .15, 0 .1")(p)
    return blend(0.07, cup, maximum(handle(p, 0.57, 0.6, 0.25, 0.1), 0.54 - hypot(p[0], p[2])))
def mug_glaze(p: Array) -> Array:
    clay, line = rgb("9a6544") * mix(0.8, 1.1, noise(p * 30, 3)), ramp(0.33, 0.36, p[1] + 0.08 * noise(p * 3, 2))
    return mix(clay, mix(rgb("e4dccb") * mix(0.9, 1.1, noise(p * 3, 2)), rgb("4d3526"), specks(p, 13)), line)
def cap(p: Array) -> Array:
    return lathe("0 .86, .1 .84, .4 .79, .68 .74, .74 .78, .7 .93, .5 1.15, .25 1.27, 0 1.31")(p)
def cap_skin(p: Array) -> Array:
    red = mix(rgb("a3120d"), rgb("d03a18"), ramp(0.3, 0.75, hypot(p[0], p[2]) + 0.2 * noise(p * 6, 2)))
    return mix(rgb("efe3c8"), red, ramp(-0.01, 0.01, p[1] - 0.86 + 0.15 * hypot(p[0], p[2])))
def warts(p: Array) -> Array:
    d, q = cap(p) + 0.01, at(p, 0, 0.4, 0)
    i = np.flatnonzero(d < 0.12)
    d[i] -= 0.05 * ramp(0.4, 0.15, cells(q[:, i] / norm(q[:, i]) * 3.9)[0]) * ramp(0.78, 0.86, p[1, i])
    return d * 0.8
def board(p: Array) -> Array:
    x, z = (p[0] * 0.88 + p[2] * 0.47) / 1.15 + 0.5, (p[2] * 0.88 - p[0] * 0.47) / 1.15 + 0.5
    light, dark = mottled("b59a74", "ccb48c", 1, 1, 9, warp=2), mottled("8a6a4a", "a58460", 9, 1, 1, warp=2)
    return mix(light(p), dark(p), ramp(-0.006, 0.006, sin(np.pi * x) * sin(np.pi * z)))
def teapot(p: Array) -> Array:
    pot = lathe("0 .04, .36 .04!, .4 0, .44 .03, .68 .22, .76 .48, .66 .76, .4 .92, .34 .93, .3 .9, 0 .9")(p)
    bend, tip = vec(0.9, 0.54, 0), vec(1.14, 0.93, 0)
    spout = blend(0.2, rod(p, vec(0.5, 0.3, 0), bend, 0.17, 0.09), rod(p, bend, tip, 0.09, 0.07))
    spout = maximum(maximum(spout, p[1] - 0.92), 0.05 - norm(p - tip))
    return blend(0.08, pot, spout, maximum(handle(p, -0.76, 0.56, 0.27, 0.06), 0.62 - norm(at(p, 0, 0.5, 0))))
def teapot_glaze(p: Array) -> Array: return mix(mottled("123a5c", "2a6a94", 2.2)(p), rgb("101820"), specks(p, 12))


SCENES = {
    "apple": Scene([
        Part(lambda p: lathe("0 .13, .1 .07, .22 .03, .4 .12, .57 .4, .61 .66, .52 .93, .3 1.07, .1 1, 0 .84")(
            p * (1 + 0.025 * cos(5 * np.arctan2(p[2], p[0]) + 0.6) * ramp(1.2, 0, p[1]))), apple_skin, 0.2),
        Part(lambda p: rod(p, vec(0, 0.8, 0), vec(0.07, 1.28, 0), 0.02, 0.032), mottled("4a3018", "7a5a30", 20), 0.7),
        Part(leaf, mottled("2f5020", "4f7432", 9), 0.45, wrap=0.3),
    ], (0.66, 0.9), (1, 1), (10, 15, 5), planks("3f2c1f", "86664a"), "5f6b58 2e3a2b b6bd9a 7d8a5c", "fff2c9 dcedc0"),
    "armchair": Scene([
        Part(chair, mottled("6e3415", "9c5226", 2.5), 0.38,
             bump=lambda p: 0.002 * cells(p * 55)[0] - 0.02 * noise(p * 4, 2)),
        Part(chair_leg, "3a2415", 0.4),
    ], (0.66, 1.25), (1, 1), (32, 14, 6.4), planks("7d6b58", "b09c84", 0.5), "b9b4a8 8fa09a d9d2c4 5d6a66 c9a27a"),
    "cactus": Scene([
        Part(lambda p: lathe("0 .02, .33 .02!, .35 0, .46 .5!, .52 .5!, .54 .53, .55 .66, .53 .69, .48 .69!, .46 .6!,"
             "0 .6")(p), mottled("9c5030", "b96c48", 5), 0.75, bump=lambda p: 0.004 * noise(p * 30, 2)),
        Part(cactus, mottled("2f5e33", "5a8a4c", 3), 0.5, wrap=0.2, bump=lambda p: 0.003 * noise(p * 30)),
        Part(thorns, "e8dcb8", 0.6, wrap=0.4),
        Part(flower, lambda p: mix(rgb("f4d060"), rgb("d8347c"), ramp(0.05, 0.12, hypot(p[0], p[2]))), 0.5),
        Part(lambda p: disc(p[1] - 0.6, p[0], p[2], 0.04, 0.49, 0.01), mottled("2a1c12", "6b5844", 14), 0.9),
    ], (0.98, 1.25), (3, 4), (0, 10, 6.6), planks("b0a08c", "d8ccba"), "bdb7a8 a8b5a6 e6dfd0 8a9b8e b5a48f", "fffbe8"),
    "car": Scene([
        Part(car_body, car_paint, 0.1), Part(car_glass, "0d1216", 0.04), Part(chrome, "d8d8d8", 0.12, metal=1),
        Part(lambda p: wheel(p, 0.085, 0.2), "17171a", 0.6),
        Part(lambda p: ellipsoid(at(fold(p, "z"), 0.93, 0.4, 0.27), 0.05, 0.085, 0.085), "fff0c4", 0.08),
    ], (0.42, 1.15), (3, 2), (38, 14, 6), planks("7c5e40", "b48c60"), "8b7f74 c9b79c 4d5a66 a4553c d8cdb8",
        "ffd9a0", 0.15),
    "duck": Scene([
        Part(duck, "f0b000", 0.2, wrap=0.25), Part(beak, "e2601a", 0.25, wrap=0.2),
        Part(lambda p: eye(p, 0.085, 0.325), "f8f4ea", 0.1), Part(lambda p: eye(p, 0.06, 0.37), "0a0a0c", 0.05),
    ], (0.66, 1.08), (4, 3), (28, 13, 5.8), mottled("9fb8c0", "b8cdd2", 1.5), "8fb0b8 c9dde0 6d98a6 e8eeec 5d8794",
        "ffffff e4f6ff"),
    "lamp": Scene([
        Part(lambda p: lathe("0 0, .4 0!, .42 .02, .41 .06, .3 .09, .1 .13, .06 .2, .09 .3, .17 .46, .19 .58, .12 .78,"
             ".05 .88, .07 .92, .05 .96, .035 1.05, .035 1.7, 0 1.72")(p), mottled("b88a3c", "cfa254", 3), 0.15, 1),
        Part(lambda p: lathe("0 1.7, .39 1.7!, .4 1.82!, .42 1.82!, .66 1.1!, .64 1.1!, .38 1.66!, 0 1.66")(p),
             mottled("1f5a48", "2a6c56", 20, 90, 20), 0.8, bump=lambda p: 0.002 * noise(p * vec(60, 5, 60))),
    ], (0.95, 1.2), (3, 4), (0, 8, 6.4), planks("5a3a26", "8c6244"), "c2b6a2 a39582 d9cfbc b3a58f 8f9a94", "fff0d0"),
    "mug": Scene([
        Part(mug, mug_glaze, 0.12), Part(lambda p: disc(p[1] - 1.02, p[0], p[2], 0.02, 0.52, 0.005), "2a130a", 0.05),
    ], (0.56, 0.95), (4, 3), (12, 15, 5.6), planks("4a3020", "86603e"), "6d5b4b 2f3a35 c9b48f 8b4f33 40302a",
        "ffd9a0 ffb765 fff0d8"),
    "mushroom": Scene([
        Part(lambda p: minimum(lathe("0 -.1, .24 0, .25 .12, .16 .4, .14 .9, 0 .95")(p),
             lathe("0 .78, .14 .76, .26 .6!, .25 .6!, .12 .72, 0 .72")(p)), mottled("d8ccb0", "f0e8d4", 12, 3, 12), 0.7,
             wrap=0.3, bump=lambda p: 0.006 * noise(p * vec(20, 3, 20))),
        Part(cap, cap_skin, 0.18), Part(warts, "e9dfc8", 0.8, wrap=0.3, bump=lambda p: 0.02 * noise(p * 30, 2)),
    ], (0.62, 1), (1, 1), (0, 8, 5.2), mottled("26300f", "5f6228", 7, 1, 22, warp=2),
        "3f5a2c 1d2e18 7f9a4a 2f4a2a a8b86a", "e8f0a0 d4e88a fff8d0", 0),
    "pawn": Scene([
        Part(lambda p: lathe("0 0, .42 0!, .45 .03, .45 .11, .4 .16!, .38 .17, .38 .21!, .31 .26, .2 .42, .145 .7,"
             ".13 .9!, .24 .92, .27 .96, .24 1, .15 1.02!, .2 1.07, .255 1.22, .2 1.38, .1 1.45, 0 1.465")(p),
             mottled("4a1a10", "7c3420", 9, 1.2, 9, warp=2), 0.12),
    ], (0.73, 0.95), (3, 4), (0, 12, 5.4), board, "8f8a7c 6f7a74 b8ab92 5d6b66 a58c68", "ffe9c8"),
    "teapot": Scene([
        Part(teapot, teapot_glaze, 0.1),
        Part(lambda p: lathe("0 .9, .32 .92!, .335 .95, .28 1.01, .1 1.07, .055 1.1, .1 1.17, .09 1.23, 0 1.26")(p),
             teapot_glaze, 0.1),
    ], (0.6, 1.25), (3, 2), (14, 13, 6.4), planks("85725e", "b5a28a"), "a39a8c d6cdbd 6d7a70 c49a6c 8c9a94", "fff0d8"),
}
# fmt: on


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path, nargs="?", metavar="OUT_DIR")
    parser.add_argument("--scene", action="append", choices=SCENES, metavar="NAME", help="default: all of them")
    parser.add_argument("--size", type=int, default=960, help="long side in pixels")
    parser.add_argument("--alpha", action="store_true", help="also write NAME.alpha.png")
    parser.add_argument("--list", action="store_true", help="print the scene names and exit")
    args = parser.parse_args()
    if args.list:
        print(*SCENES, sep="\n")
        return
    if args.out is None:
        parser.error("OUT_DIR is required")
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.scene or SCENES:
        start = time.perf_counter()
        image, alpha = render(name, args.size)
        image.save(args.out / f"{name}.jpg", quality=92)
        if args.alpha:
            alpha.save(args.out / f"{name}.alpha.png")
        print(f"{name}: {image.width}x{image.height} in {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
