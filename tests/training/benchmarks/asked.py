"""Records of a scene as the engine writes them, and what the geometry baseline says to them."""

from dataclasses import dataclass, field

from spatial_mllm_training.benchmarks.baselines import baseline
from spatial_mllm_training.multispa.scene import Scene


@dataclass
class Ref:
    scene: Scene
    opened: list = field(default_factory=list)

    @property
    def source(self):
        return self.scene.source

    @property
    def name(self):
        return self.scene.name

    def open(self):
        self.opened.append(self.name)
        return self.scene


def record(scene, kind, numbers, pixels=(), *, asks=None, gt=None, split="test", **meta):
    """A record as the engine writes it; pixels are (image, u, v)."""
    frames = [scene.frames[i] for i in numbers]
    meta |= {
        "scene": f"{scene.source}/{scene.name}",
        "stamps_ns": [frame.stamp_ns for frame in frames],
        "cameras": [frame.camera.name for frame in frames],
        "pixels": [[u, v] for _, u, v in pixels],
        "pixel_images": [image for image, _, _ in pixels],
        "bins": {"asks": asks} if asks else {},
        "split": split,
    }
    return {"id": f"{kind}-{numbers}-{pixels}", "question_type": kind, "gt_value": gt, "meta": meta}


def answered(scene, *args, **kinds):
    return baseline("geometry", [], [Ref(scene)])(record(scene, *args, **kinds))
