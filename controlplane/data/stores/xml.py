"""Answers in XML, read without trusting them: no entities, names without their namespace. Pure."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator

from controlplane.data.stores.base import StoreError


class Node:
    """An element; children by their plain names."""

    def __init__(self, element: ElementTree.Element) -> None:
        self._element = element

    @property
    def name(self) -> str:
        """Its name without namespace."""
        return self._element.tag.rpartition("}")[2]

    def all(self, name: str) -> Iterator[Node]:
        """Children of that name."""
        return (node for node in map(Node, self._element) if node.name == name)

    def text(self, *path: str) -> str:
        """Text of the first descendant on this path, or empty."""
        node: Node | None = self
        for name in path:
            node = next(node.all(name), None) if node is not None else None
        return (node._element.text or "") if node is not None else ""


def parse(body: bytes) -> Node:
    """The root. Raises StoreError `unavailable`."""
    # A document type could define entities; no store's answer has one.
    if b"<!DOCTYPE" in body[:1024]:
        raise StoreError("unavailable", "the store's answer can't be read")
    try:
        return Node(ElementTree.fromstring(body))  # noqa: S314
    except ElementTree.ParseError as error:
        raise StoreError("unavailable", "the store's answer can't be read") from error


def error_text(body: bytes) -> str:
    """Code and message of an error, or empty."""
    try:
        root = parse(body)
    except StoreError:
        return ""
    code, message = root.text("Code"), " ".join(root.text("Message").split())
    return f"{code}: {message}"[:300] if code and message else code


def escaped(text: str) -> str:
    """Text as it stands in an element."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
