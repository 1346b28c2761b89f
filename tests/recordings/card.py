"""An RGB-D recording with something to follow: a textured wall, a textured card pushed along it, a moving camera."""

import cv2
import numpy as np

from .recordings import START, STEP, image, info, transforms

SIZE, FOCAL, DISTANCE = (160, 120), 120.0, 1.2
CARD = (60, 40, 44, 44)  # x, y, width, height in the first image
CARD_SPEED = 0.004  # metres a frame along x


def texture(seed, shape):
    noise = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 1.5), None, 0, 255, cv2.NORM_MINMAX)


def camera_x(i):
    """Where the camera is at frame i, metres."""
    return 0.1 * np.sin(i / 25)


def pushed(frames=60):
    """(topic, stamp, message): the card stands for 10 frames, then moves at CARD_SPEED; TF is odom -> optical."""
    wall, card = texture(1, (200, 400)), texture(2, (44, 44))
    messages = []
    width, height = SIZE
    for i in range(frames):
        ns = START + i * STEP
        u = FOCAL * camera_x(i) / DISTANCE
        shift = np.array([[1, 0, -100 - u], [0, 1, -40]], np.float32)
        picture = cv2.warpAffine(wall, shift, SIZE)
        x = CARD[0] - u + FOCAL * CARD_SPEED * max(i - 10, 0) / DISTANCE
        place = np.array([[1, 0, x], [0, 1, CARD[1]]], np.float32)
        mask = cv2.warpAffine(np.full(card.shape, 255, np.uint8), place, SIZE, flags=cv2.INTER_NEAREST)
        picture = np.where(mask > 0, cv2.warpAffine(card, place, SIZE, borderMode=cv2.BORDER_REPLICATE), picture)
        k = info(ns, size=SIZE)
        k.k[:] = [FOCAL, 0, (width - 1) / 2, 0, FOCAL, (height - 1) / 2, 0, 0, 1]
        depth = np.full((height, width), round(DISTANCE * 1000), np.uint16)
        messages += [
            ("/tf", ns, transforms((ns, "odom", "optical", (camera_x(i), 0.0, 0.0)))),
            ("/camera/color/camera_info", ns, k),
            ("/camera/color/image_raw", ns, image(ns, cv2.merge([picture] * 3), "rgb8")),
            ("/camera/depth/image_raw", ns, image(ns, depth, "16UC1")),
        ]
    return messages
