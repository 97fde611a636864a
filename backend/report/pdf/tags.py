"""A canvas that writes tagged PDF: what is a heading, a paragraph, a table, a picture with its words, and in which order it is read.

reportlab draws, but knows no structure (PDF 32000-1, 14.7). Owns the structure tree and the page numbers, which are known only at the end.
Promises: everything drawn is in the tree or marked as decoration (``artifact``). May be imported by ``backend.report.pdf``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from reportlab.pdfbase import pdfdoc
from reportlab.pdfgen.canvas import Canvas

#: (canvas, number of the page from 1, number of pages): draws what stands on each page.
OnPage = Callable[["TaggedCanvas", int, int], None]


@dataclass
class Element:
    """A node of the structure tree. ``kids``: nodes, and (page, mark) of what is drawn there, both counted from 0."""

    role: str
    alt: str = ""
    kids: list[Element | tuple[int, int]] = field(default_factory=list)


class TaggedCanvas(Canvas):  # type: ignore[misc]  # reportlab has no types
    """A canvas with a structure tree; ``on_page`` draws the head and the foot of every page once the number of pages is known."""

    on_page: OnPage | None = None

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._root = Element("Document")
        self._path = [self._root]
        #: the marked elements of each page; empty for pages that have none
        self._marks: list[list[Element]] = [[]]
        self._bookmarks = 0

    @contextlib.contextmanager
    def group(self, role: str, alt: str = "") -> Iterator[None]:
        """What is drawn in the block belongs to one element ``role``."""
        self.begin_group(role, alt)
        try:
            yield
        finally:
            self.end_group()

    def begin_group(self, role: str, alt: str = "") -> None:
        """As ``group``, for callers that hear of begin and end separately."""
        element = Element(role, alt)
        self._path[-1].kids.append(element)
        self._path.append(element)

    def end_group(self) -> None:
        """The last group that began is complete."""
        self._path.pop()

    @contextlib.contextmanager
    def marked(self, role: str, alt: str = "") -> Iterator[None]:
        """What is drawn in the block is one element ``role``; ``alt``: a picture in words."""
        page = self.getPageNumber() - 1
        while len(self._marks) <= page:
            self._marks.append([])
        number = len(self._marks[page])
        element = Element(role, alt, [(page, number)])
        self._path[-1].kids.append(element)
        self._marks[page].append(element)
        self._code.append(f"/{role} <</MCID {number}>> BDC")
        yield
        self._code.append("EMC")

    @contextlib.contextmanager
    def artifact(self) -> Iterator[None]:
        """What is drawn in the block is decoration: nobody reads it out."""
        self.begin_artifact()
        yield
        self.end_artifact()

    def begin_artifact(self) -> None:
        """As ``artifact``, for callers that hear of begin and end separately."""
        self._code.append("/Artifact BMC")

    def end_artifact(self) -> None:
        """The decoration that began is complete."""
        self._code.append("EMC")

    def bookmark(self, words: str, *, level: int, y: float) -> None:
        """Name this place, ``y`` points above the origin, in the list of contents that readers show; ``level`` 0 is the outermost."""
        self._bookmarks += 1
        key = f"at-{self._bookmarks}"
        self.bookmarkHorizontal(key, 0, y)
        self.addOutlineEntry(words, key, level=level, closed=level > 0)

    def save(self) -> None:
        """Number the pages, write the tree, and save."""
        if self._code:
            self.showPage()
        pages = self._doc.Pages.pages
        for number, page in enumerate(pages, 1):
            self._restartAccumulators()
            with self.artifact():
                if self.on_page:
                    self.on_page(self, number, len(pages))
            page.stream += "\n".join(self._code) + "\n"
        self._restartAccumulators()
        _write_tree(self._doc, self._root, self._marks)
        super().save()


class _True(pdfdoc.PDFObject):  # type: ignore[misc]
    def format(self, document: Any) -> bytes:
        return b"true"


def _write_tree(document: Any, root: Element, marks: list[list[Element]]) -> None:
    """Put the tree into the catalogue, and its numbers onto the pages."""
    pages = document.Pages.pages
    made: dict[int, Any] = {}
    tree = pdfdoc.PDFDictionary({"Type": pdfdoc.PDFName("StructTreeRoot")})
    tree_reference = document.Reference(tree)

    def write(element: Element, parent: Any) -> Any:
        node = pdfdoc.PDFDictionary(
            {"Type": pdfdoc.PDFName("StructElem"), "S": pdfdoc.PDFName(element.role), "P": parent}
        )
        reference = document.Reference(node)
        made[id(element)] = reference
        if element.alt:
            node["Alt"] = pdfdoc.PDFString(element.alt)
        kids = []
        for kid in element.kids:
            if isinstance(kid, Element):
                kids.append(write(kid, reference))
            else:
                node["Pg"] = document.Reference(pages[kid[0]])
                kids.append(kid[1])
        node["K"] = pdfdoc.PDFArray(kids)
        return reference

    top = write(root, tree_reference)
    numbers: list[Any] = []
    for number, page in enumerate(pages):
        own = marks[number] if number < len(marks) else []
        numbers += [number, pdfdoc.PDFArray([made[id(element)] for element in own])]
        page.__NoDefault__ = [*page.__NoDefault__, "StructParents", "Tabs"]
        page.StructParents, page.Tabs = number, pdfdoc.PDFName("S")
    tree["K"] = top
    tree["ParentTree"] = pdfdoc.PDFDictionary({"Nums": pdfdoc.PDFArray(numbers)})
    document.Catalog.StructTreeRoot = tree
    document.Catalog.MarkInfo = pdfdoc.PDFDictionary({"Marked": _True()})
