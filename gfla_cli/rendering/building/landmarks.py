"""Where on MakeHuman's base mesh the points are that detectors find in pictures.

The vertices were located once: a face mesh detector on frontal renders of many characters, every landmark at the
vertex nearest to it in the median, mirrored pairs together. The mesh is the same for everybody, so they hold for all.
"""

LANDMARKS: tuple[int, ...] = (  # 68, in iBUG's order
    # outline of the face, from the person's right ear to the left
    *(5754, 5186, 5246, 5241, 5240, 5298, 995, 918, 5296, 7620, 7689, 11903, 11849, 11850, 11854, 11798, 12351),
    # brows: right, left
    *(254, 225, 206, 205, 208, 6983, 6980, 6981, 6999, 7023),
    # nose: bridge downwards, then along its base
    *(132, 131, 201, 294, 358, 313, 312, 7076, 7119),
    # eyes: right, left
    *(4854, 4849, 4865, 66, 47, 6776, 6850, 11483, 11467, 11472, 13372, 6831),
    # mouth: outside, inside
    *(3735, 413, 456, 466, 7215, 7173, 10403, 7232, 7245, 496, 490, 477),
    *(416, 459, 474, 7218, 7176, 7265, 523, 518),
)
_NOSE, _RIGHT_EYE, _LEFT_EYE = LANDMARKS[30], LANDMARKS[36:42], LANDMARKS[42:48]
KEYPOINTS: tuple[tuple[int, ...], ...] = (  # the means of six vertices each
    (_NOSE,) * 6,
    _RIGHT_EYE,
    _LEFT_EYE,
    (5692, 5675, 5685, 5681, 5697, 5677),  # right ear
    (12289, 12272, 12282, 12278, 12294, 12274),  # left ear
)
