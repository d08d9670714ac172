"""One VOC file: what ElementTree reads in it, lines, and what is refused before it can do harm."""

from __future__ import annotations

import time
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradlearn.data.boxes.voc_sheet import parse
from gradlearn.data.reject import Bad
from gradlearn.errors import InputTrouble

ENTITIES = "".join(f'<!ENTITY lol{i + 1} "{f"&lol{i};" * 10}">' for i in range(30))
LAUGHS = f"""<?xml version="1.0"?>
<!DOCTYPE lolz [<!ENTITY lol0 "lol">{ENTITIES}]><annotation><filename>&lol30;</filename></annotation>"""

number = st.floats(-1e6, 1e6, width=32)
things = st.lists(st.tuples(st.sampled_from(["cat", "a & b", "<x>", "ß"]), st.booleans(), *(number for _ in range(4))), max_size=4)


@given(things, st.integers(0, 5000), st.integers(0, 5000))
def test_a_sheet_is_what_elementtree_reads(objects, w, h):
    root = ElementTree.Element("annotation")
    size = ElementTree.SubElement(root, "size")
    for name, value in (("width", w), ("height", h)):
        ElementTree.SubElement(size, name).text = str(value)
    for name, difficult, *corners in objects:
        one = ElementTree.SubElement(root, "object")
        ElementTree.SubElement(one, "name").text = name
        ElementTree.SubElement(one, "difficult").text = str(int(difficult))
        part = ElementTree.SubElement(ElementTree.SubElement(one, "part"), "bndbox")  # of a head or a hand: not the object's
        box = ElementTree.SubElement(one, "bndbox")
        for side, value in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True):
            ElementTree.SubElement(part, side).text = "-1"
            ElementTree.SubElement(box, side).text = repr(value)
    sheet = parse(ElementTree.tostring(root, "utf-8"), "a.xml")
    assert sheet.size == (h, w)
    found = [(t.name, t.difficult, *(t.sides[s] for s in ("xmin", "ymin", "xmax", "ymax"))) for t in sheet.things]
    assert found == objects


def test_lines_are_those_of_the_boxes():
    text = "<annotation>\n<object>\n<name>a</name>\n<bndbox><xmin>1</xmin></bndbox></object>\n\n<object></object></annotation>"
    assert [t.line for t in parse(text.encode(), "a.xml").things] == [4, 6]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_doctype_ends_it_before_anything_is_expanded(encoding):
    before = time.process_time()
    with pytest.raises(InputTrouble, match=r"^a.xml: DOCTYPE is not allowed in VOC files; remove it$"):
        parse(LAUGHS.replace('"1.0"', f'"1.0" encoding="{encoding}"').encode(encoding), "a.xml")
    assert time.process_time() - before < 1.0
    with pytest.raises(InputTrouble, match="DOCTYPE"):
        parse(b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>', "a.xml")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("<annotation><size></annotation>", "not well-formed XML (mismatched tag in line 1, column 21)"),
        ("", "not well-formed XML (no element found in line 1, column 1)"),
        ("<annotation>&lol;</annotation>", "not well-formed XML (undefined entity in line 1, column 13)"),
        ("<a>" * 100, "nested deeper than 64 elements"),
        ('<?xml version="1.0" encoding="nonsense"?><a/>', "not readable XML (unknown encoding: nonsense)"),
    ],
)
def test_what_is_no_xml_is_told(text, what):
    with pytest.raises(Bad) as caught:
        parse(text.encode(), "a.xml")
    assert caught.value.what == what


def test_what_cannot_be_read_in_an_object_is_kept():
    text = "<annotation><object><name>a</name><bndbox><xmin>1_0</xmin><ymin>2</ymin><ymin>3</ymin></bndbox></object></annotation>"
    (thing,) = parse(text.encode(), "a.xml").things
    assert thing.wrong == "xmin '1_0' is not a number"
    assert parse(b"<annotation><size><width>x</width><height>nan</height></size></annotation>", "a").size == (0, 0)
