"""Data sets to train on and to measure with. All yield the samples that `sample` describes.

Real: `deepfashion` (pairs of poses), `face_folders` (clips), `shapenet` (views). `tables` reads and writes the tables
of pose sets; `build`, `photos` and `img_highres` make such sets, `check` checks them.

Rendered: `people` (pairs of poses), `rendered_clips`, `chairs` (views), and the fixed `people_sets`. Samples of endless
sets are kept in a `render_cache`, have ground-truth flow (`correspondence`), and look like real data by `augment`.
"""
