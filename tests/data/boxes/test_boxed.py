"""The value: boxes of pictures, by slices and by rows."""

from __future__ import annotations

import numpy as np

from gradlearn.data.boxes.read import read


def test_rows_are_the_boxes_of_the_pictures_in_their_order(make, tmp_path):
    boxed = read(make.voc(tmp_path / "d"))
    for pictures in ([], [0], [3, 0, 2], [1, 1], [0, 1, 2, 3]):
        rows = boxed.rows(np.array(pictures, np.int32))
        expected = [boxed.of(i)[0] for i in pictures]
        assert boxed.boxes[rows].tolist() == np.concatenate([*expected, np.empty((0, 4))]).tolist()


def test_nothing_is_an_object_a_box(make, tmp_path):
    boxed = read(make.voc(tmp_path / "d"))
    arrays = (boxed.sizes, boxed.boxes, boxed.labels, boxed.hard, boxed.first, boxed.image_ids, boxed.category_ids)
    assert all(array.dtype != object for array in arrays)
    assert sum(array.nbytes for array in (boxed.boxes, boxed.labels, boxed.hard)) == 6 * (16 + 4 + 1)
