"""Faces: applies the motion of a driver's face to the face of a source. Also: whether a face or body jumped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gfla_cli.arrays import Float32Array, Float64Array, Points, median
from gfla_cli.person.body import torso_length
from gfla_cli.person.face import EYES, LIPS, POINTS, RIGID, eye_openings, face_size, known_irises, mouth_opening
from gfla_cli.person.pose import JOINTS, Pose

_ROUNDS = 4  # of reweighting in the robust fit
_OUTLIER = 1.5  # median residuals; points further off get less weight
_WIDEST = 1.6  # times the source's own opening: eyes do not open further
_SHUT = 0.08  # eye opening that MediaPipe measures for closed eyes
_HALF_OPEN = 0.18  # least eye opening of a reference frame; smaller ones are replaced by it
_LOCAL = (0.6, 1.5)  # limits for the scale of a part of the face, relative to the scale of the face
_FARTHEST, _FASTEST = 0.4, 3.0  # sizes, and sizes per second: a longer way is a jump
_FACE_GROWTH, _BODY_GROWTH = 1.2, 1.35  # from frame to frame, more is a jump; torsos are measured less exactly
_LOOKS = (0.36, 0.2)  # eye widths along and across: an iris is no further from the middle of its eye
_SEEN = 0.1  # opening of an eye, above a shut one's, from which on its iris is measured well
_FRONT = 0.35  # penalty for a different turn of the head in a reference, per radian
_NEARLY = 0.04  # difference of expressions from the most alike one, from which on a frame is no part of a reference


def jumped(before: Points, now: Points, seconds: float) -> bool:
    """Whether a face (68 or 70, n) or body (18, n) moved or grew faster than people do: a cut, a zoom, another person.

    `seconds`: between both. The unit of length is the size of the face, or the torso.
    """
    if len(now) == len(JOINTS):
        there = (before[:, 2] > 0) & (now[:, 2] > 0)
        sizes = [torso_length(Pose.of(points, (1, 1))) for points in (before, now)]
        growth = _BODY_GROWTH
    else:
        before, now = before[:POINTS], now[:POINTS]
        there = np.ones(len(now), np.bool_)
        sizes = [face_size(points) for points in (before, now)]
        growth = _FACE_GROWTH
    if not there.any() or min(sizes) <= 0:
        return False
    way = float(np.linalg.norm(median(now[there, :2] - before[there, :2]))) / max(sizes)
    ratio = max(sizes) / min(sizes)
    return way > _FARTHEST + _FASTEST * seconds or ratio > growth * (1 + seconds)


@dataclass(frozen=True, slots=True)
class Similarity:
    """x -> scale * rotation @ x + shift, in 2 or 3 dimensions."""

    scale: float
    rotation: Float64Array  # (n, n)
    shift: Float64Array  # (n,)

    def __call__(self, points: Float64Array) -> Float64Array:
        return self.scale * points @ self.rotation.T + self.shift

    def undo(self, points: Float64Array) -> Float64Array:
        return (points - self.shift) @ self.rotation / self.scale


def fit_similarity(start: Float64Array, end: Float64Array) -> Similarity:
    """The similarity that maps (N, n) points to others: robust least squares with Huber's weights."""
    weight = np.ones(len(start))
    fit = _weighted_fit(start, end, weight)
    for _ in range(_ROUNDS):
        residual = np.linalg.norm(fit(start) - end, axis=1)
        limit = _OUTLIER * max(float(median(residual)), 1e-9)
        weight = np.minimum(1, limit / np.maximum(residual, 1e-12))
        fit = _weighted_fit(start, end, weight)
    return fit


def _weighted_fit(start: Float64Array, end: Float64Array, weight: Float64Array) -> Similarity:
    """The least-squares similarity without reflection, from the covariance's singular values (Umeyama 1991)."""
    share = (weight / weight.sum())[:, None]
    middle, wanted = (share * start).sum(axis=0), (share * end).sum(axis=0)
    before, after = start - middle, end - wanted
    left, spread, right = np.linalg.svd((share * after).T @ before)
    sign = np.ones(start.shape[1])
    sign[-1] = np.sign(np.linalg.det(left) * np.linalg.det(right)) or 1.0
    rotation = left * sign @ right
    scale = float((spread * sign).sum() / max(float((share * before**2).sum()), 1e-12))
    return Similarity(max(scale, 1e-6), rotation, wanted - max(scale, 1e-6) * rotation @ middle)


class FaceMotion:
    """Moves the landmarks of a source's face as a driver's face moves. The source's face keeps its shape.

    The driver's landmarks are split into two parts. The head moves: a rotation, a shift and a scale since the
    reference. The features move inside the head's own coordinates, in units of the face's size. Both parts are applied
    to the source's landmarks.

    `source`: (68 or 70, n) in the source's image. `reference`: (68 or 70, n) of the driver when it looks most like the
    source, see `best_reference`. n is 2 or 3; when they differ, depth is left out. Without depth a turn of the
    head counts as motion of the features, which is right for small turns. `absolute`: use the driver's own face shape,
    only moved and scaled to the source's face.

    Irises move inside the eyes as the driver's do since the reference. Where the driver's are unknown, they stay
    where they are in the eyes.
    """

    def __init__(self, source: Points, reference: Points, *, absolute: bool = False) -> None:
        self._dimensions = 2 if absolute else min(source.shape[1], reference.shape[1])
        self._absolute = absolute
        self._source = self._taken(source)
        self._reference = self._taken(reference)
        irises = self._irises(source)
        self._gaze = None if irises is None else _gaze(self._source, irises)
        irises = self._irises(reference)
        self._reference_gaze = None if irises is None else _gaze(self._reference, irises)
        self._ratio = face_size(self._source) / face_size(self._reference)
        self._middle = self._source[list(RIGID)].mean(axis=0)
        self._reference_middle = self._reference[list(RIGID)].mean(axis=0)
        # The driver's head may be tilted differently: "up" in one face is not "up" in the other.
        self._orientation = fit_similarity(self._reference[list(RIGID)], self._source[list(RIGID)]).rotation
        self._across, self._down = _axes(self._source)
        self._proportions = _proportions(self._source, self._reference) / self._ratio
        self._proportions = self._proportions.clip(*_LOCAL)

    def __call__(self, driving: Points) -> Float32Array:
        """Landmarks in the source's image for (68 or 70, n) of the driver's next frame.

        (70, 2) if the source's irises are known, else (68, 2).
        """
        now, irises = self._taken(driving), self._irises(driving)
        if self._absolute:
            if self._gaze is not None:
                now = np.concatenate([now, _irises_at(now, self._gaze) if irises is None else irises])
            placed = (now - self._reference_middle) * self._ratio + self._middle
            return np.asarray(placed, np.float32)
        head = fit_similarity(self._reference[list(RIGID)], now[list(RIGID)])
        at_rest = head.undo(now)  # as if the head had not moved
        features = (at_rest - self._reference) @ self._orientation.T * self._ratio
        face = self._source + self._proportioned(features)
        self._move_eyelids(face, at_rest)
        _close_lips(face, self._source)
        if self._gaze is not None:
            gaze = self._gaze
            if irises is not None and self._reference_gaze is not None:
                gaze = _moved_gaze(gaze, self._reference_gaze, _gaze(at_rest, head.undo(irises)), at_rest)
            face = np.concatenate([face, _irises_at(face, gaze)])
        turned = head.scale * (face - self._middle) @ head.rotation.T
        drift = head(self._reference_middle) - self._reference_middle
        return np.asarray((turned + self._middle + drift * self._ratio)[:, :2], np.float32)

    def _taken(self, points: Points) -> Float64Array:
        """The 68 points without irises."""
        if points.shape[0] not in (POINTS, POINTS + 2) or points.shape[1] < self._dimensions:
            raise ValueError(f"a face is (68 or 70, {self._dimensions}) or more, got {points.shape}")
        return np.asarray(points[:POINTS, : self._dimensions], np.float64)

    def _irises(self, points: Points) -> Float64Array | None:
        irises = known_irises(points[:, : self._dimensions])
        return None if irises is None else np.asarray(irises, np.float64)

    def _proportioned(self, features: Float64Array) -> Float64Array:
        """Scales the motion of each part with its length: a short upper lip is not pulled over the nose."""
        down = features @ self._down
        across = features @ self._across
        along = (self._proportions[:, 0] - 1) * across
        return features + along[:, None] * self._across + ((self._proportions[:, 1] - 1) * down)[:, None] * self._down

    def _move_eyelids(self, face: Float64Array, at_rest: Float64Array) -> None:
        """Opens and closes the eyes in proportion, in place. Adding the driver's motion would make lids cross."""
        for eye, before, now in zip(EYES, eye_openings(self._reference), eye_openings(at_rest), strict=True):
            part = max(now - _SHUT, 0) / (max(before, _HALF_OPEN) - _SHUT)
            part = min(part, _WIDEST)
            for upper, lower in ((eye[1], eye[5]), (eye[2], eye[4])):
                face[upper] = face[lower] + part * (self._source[upper] - self._source[lower])


def _eye_axes(face: Float64Array) -> list[tuple[Float64Array, Float64Array]]:
    """Of the right and the left eye of a face (68, n): the middle (n,), and n axes (n, n) as long as the eye is wide.

    The first axis goes from the right corner to the left one, the second down, and the third, if there is one, is
    perpendicular to both.
    """
    _, down = _axes(face)
    axes = []
    for eye in EYES:
        right, left = face[eye[0]], face[eye[3]]
        width = max(float(np.linalg.norm(left - right)), 1e-6)
        along = (left - right) / width
        below = down - (down @ along) * along
        below = below / max(float(np.linalg.norm(below)), 1e-9)
        unit = [along, below] if face.shape[1] == 2 else [along, below, np.cross(along, below)]
        axes.append(((right + left) / 2, np.stack(unit) * width))
    return axes


def _gaze(face: Float64Array, irises: Float64Array) -> Float64Array:
    """(2, n) where the irises (2, n) are in the eyes of a face (68, n): in eye widths along the axes of each eye."""
    eyes = zip(irises, _eye_axes(face), strict=True)
    return np.stack([axes @ (iris - middle) / max(axes[0] @ axes[0], 1e-12) for iris, (middle, axes) in eyes])


def _irises_at(face: Float64Array, gaze: Float64Array) -> Float64Array:
    """(2, n) irises in the eyes of a face (68, n): the inverse of `_gaze`."""
    return np.stack([middle + place @ axes for place, (middle, axes) in zip(gaze, _eye_axes(face), strict=True)])


def _moved_gaze(gaze: Float64Array, before: Float64Array, now: Float64Array, driver: Float64Array) -> Float64Array:
    """(2, n) the source's gaze after the driver's, of the face (68, n) `driver`, went from `before` to `now`.

    Both eyes turn alike. An eye that is nearly shut tells little about the direction.
    """
    weight = np.array([min(max((opening - _SHUT) / _SEEN, 0.01), 1) for opening in eye_openings(driver)])
    change = weight @ (now - before)[:, :2] / weight.sum()
    furthest = np.maximum(_LOOKS, np.abs(gaze[:, :2]))
    moved = gaze.copy()
    moved[:, :2] = (gaze[:, :2] + change).clip(-furthest, furthest)
    return moved


def _axes(face: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Unit vectors from the right to the left eye, and perpendicular to it from the eyes to the chin."""
    across = face[45] - face[36]
    across = across / max(float(np.linalg.norm(across)), 1e-9)
    down = face[8] - face[[36, 45]].mean(axis=0)
    down = down - (down @ across) * across
    return across, down / max(float(np.linalg.norm(down)), 1e-9)


# Points, and the pairs of points whose distances scale their motion across and down the face.
_MEASURES: tuple[tuple[tuple[int, ...], tuple[int, int] | None, tuple[int, int]], ...] = (
    (tuple(range(3, 14)), None, (33, 8)),  # jaw: nose to chin
    (tuple(range(17, 22)), None, (19, 37)),  # eyebrows: to the eye
    (tuple(range(22, 27)), None, (24, 44)),
    ((*range(49, 54), *range(61, 64)), (48, 54), (33, 51)),  # upper lip: to the nose
    ((*range(55, 60), *range(65, 68)), (48, 54), (33, 8)),  # lower lip
    ((48, 54, 60, 64), (48, 54), (33, 8)),  # corners of the mouth
)


def _proportions(source: Float64Array, reference: Float64Array) -> Float64Array:
    """(68, 2) how much longer the source's parts are than the reference's, across and down the face."""
    ratio = np.full((68, 2), face_size(source) / face_size(reference))
    for points, across, down in _MEASURES:
        for axis, ends in enumerate((across, down)):
            if ends is not None:
                long, short = (float(np.linalg.norm(face[ends[0]] - face[ends[1]])) for face in (source, reference))
                ratio[list(points), axis] = long / max(short, 1e-6)
    return ratio


def _close_lips(face: Float64Array, source: Float64Array) -> None:
    """Makes the inner edges of the lips meet, in place, where they would cross."""
    down = source[8] - source[27]  # from the bridge of the nose to the chin
    for upper, lower in LIPS:
        if (face[lower] - face[upper]) @ down < 0:
            face[[upper, lower]] = (face[upper] + face[lower]) / 2


def best_reference(source: Points, driving: Sequence[Points]) -> Points:
    """The driver's face when it looks most like the source: mouth, eyes, and the turn of the head.

    Motion relative to another face is wrong: a driver who starts with an open mouth would close the source's mouth.
    The result is a mean over all frames that look nearly as much like the source. Which of them is the best is chance:
    detected landmarks are noisy, and processors round differently. If some of these frames know the irises, only those
    count. Raises ValueError without frames.
    """
    wanted = _expression(source)
    distance = np.array([float(np.abs(_expression(face) - wanted).sum()) for face in driving])
    weight = np.maximum(0, 1 - (distance - distance.min()) / _NEARLY) ** 2
    alike = [number for number, share in enumerate(weight) if share > 0]
    # Eyes and irises of different frames would not fit together. Some frames may have no irises at all.
    seeing = [number for number in alike if known_irises(driving[number]) is not None]
    taken, points = (seeing, POINTS + 2) if seeing else (alike, POINTS)
    faces, weight = np.stack([driving[number][:points] for number in taken]), weight[taken]
    mean = np.average(faces.astype(np.float64), axis=0, weights=weight)
    # The mean of heads that are tilted to both sides is too small.
    size = np.average([face_size(face) for face in faces], weights=weight)
    middle = mean[list(RIGID)].mean(axis=0)
    return np.asarray(middle + (mean - middle) * (size / face_size(mean)), np.float32)


def _expression(points: Points) -> Float64Array:
    """Mouth, eyes and turn of a face as numbers of similar weight."""
    right, left = eye_openings(points)
    place = points[:, :2].astype(np.float64)
    across = place[45] - place[36]
    width = max(float(np.linalg.norm(across)), 1e-6)
    middle = place[[36, 45]].mean(axis=0)
    turn = float((place[30] - middle) @ across) / width**2  # where between the eyes the tip of the nose is
    return np.array([2 * mouth_opening(points), right, left, _FRONT * 2 * turn])
