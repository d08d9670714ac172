"""Boxes in pictures: VOC, COCO and YOLO read into one value, linted before anything is trained, written in each other's form."""
