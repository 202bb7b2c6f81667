"""XMP: a packet with a description and subjects, new or merged into one that is there.

Source:
    ISO 16684-1 (XMP), and what reads it: digiKam, darktable and Lightroom read `dc:description` and `dc:subject`;
    Immich reads tags from `digiKam:TagsList`, and from `lr:hierarchicalSubject` where that is missing.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from xml.dom import minidom
from xml.dom.minidom import Document, Element
from xml.parsers.expat import ExpatError

from model.errors import LibraryError

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_DC = "http://purl.org/dc/elements/1.1/"
_DIGIKAM = "http://www.digikam.org/ns/1.0/"
_LIGHTROOM = "http://ns.adobe.com/lightroom/1.0/"
_XML = "http://www.w3.org/XML/1998/namespace"
_XMLNS = "http://www.w3.org/2000/xmlns/"

_EMPTY = (
    f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{_RDF}">'
    f'<rdf:Description rdf:about=""/></rdf:RDF></x:xmpmeta>'
)
_BEGIN = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
_END = '<?xpacket end="w"?>'


@dataclass(frozen=True, slots=True)
class Description:
    """What is written about a photo.

    Attributes:
        text: One sentence.
        subjects: What is in it.
    """

    text: str
    subjects: Sequence[str]


def description_in(packet: bytes) -> str:
    """Returns the description in a packet, in the default language or else the first; empty if there is none.

    Raises:
        LibraryError: It is no XMP.
    """
    return _text_of(_parse(packet))


def merged(packet: bytes, new: Description, old: Description | None = None) -> bytes:
    """Returns a packet with a description and subjects; all else in it stays.

    Args:
        packet: What is there; empty if nothing is.
        new: What is written.
        old: What an earlier run wrote, whose subjects are taken out.

    Raises:
        LibraryError: What is there is no XMP.
    """
    document = _parse(packet or _EMPTY.encode())
    nodes = _descriptions(document)
    if not nodes:
        raise LibraryError("expected XMP with an rdf:Description, found none; move the file away")
    home = nodes[0]
    _remove(nodes, _DC, "description")
    text = _item(document, new.text)
    text.setAttributeNS(_XML, "xml:lang", "x-default")
    _add(document, home, (_DC, "dc:description"), "rdf:Alt", [text])
    outdated = set(old.subjects if old is not None else ()) - set(new.subjects)
    _merge_list(document, (_DC, "dc:subject"), "rdf:Bag", new.subjects, outdated)
    if not _found(nodes, _LIGHTROOM, "hierarchicalSubject") or _found(nodes, _DIGIKAM, "TagsList"):
        _merge_list(document, (_DIGIKAM, "digiKam:TagsList"), "rdf:Seq", new.subjects, outdated)
    else:
        _merge_list(document, (_LIGHTROOM, "lr:hierarchicalSubject"), "rdf:Bag", new.subjects, outdated)
    root = document.documentElement
    body = root.toxml() if root is not None else ""
    return f"{_BEGIN}\n{body}\n{_END}".encode()


def _parse(packet: bytes) -> Document:
    try:
        text = packet.strip(b"\0 \n\r\t").decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LibraryError("expected XMP in UTF-8, found another encoding; save it again in a photo program") from error
    if "<!DOCTYPE" in text:  # entities could make it as large as they like
        raise LibraryError("expected XMP without a document type, found one; save it again in a photo program")
    try:
        return minidom.parseString(text.encode())  # noqa: S318 - what makes it dangerous was refused above
    except (ExpatError, ValueError) as error:
        raise LibraryError(f"expected XMP, found damaged XML ({error}); save it again in a photo program") from error


def _descriptions(document: Document) -> list[Element]:
    return [
        node
        for rdf in document.getElementsByTagNameNS(_RDF, "RDF")
        for node in _children(rdf)
        if (node.namespaceURI, node.localName) == (_RDF, "Description")
    ]


def _children(node: Element) -> Iterator[Element]:
    return (child for child in list(node.childNodes) if isinstance(child, Element))


def _found(nodes: Sequence[Element], namespace: str, name: str) -> list[Element]:
    return [
        child
        for node in nodes
        for child in _children(node)
        if (child.namespaceURI, child.localName) == (namespace, name)
    ]


def _remove(nodes: Sequence[Element], namespace: str, name: str) -> None:
    for node in nodes:
        if node.hasAttributeNS(namespace, name):
            node.removeAttributeNS(namespace, name)
        for child in _found([node], namespace, name):
            node.removeChild(child).unlink()


def _items(field: Element) -> list[Element]:
    return list(field.getElementsByTagNameNS(_RDF, "li"))


def _content(node: Element) -> str:
    return "".join(
        child.data for child in node.childNodes if child.nodeType in (child.TEXT_NODE, child.CDATA_SECTION_NODE)
    )


def _text_of(document: Document) -> str:
    nodes = _descriptions(document)
    for node in nodes:
        if text := node.getAttributeNS(_DC, "description").strip():
            return text
    items = [item for field in _found(nodes, _DC, "description") for item in _items(field)]
    items.sort(key=lambda item: item.getAttributeNS(_XML, "lang") != "x-default")
    texts = [_content(item).strip() for item in items]
    # Some programs write the text alone, without a list of languages.
    texts += [_content(field).strip() for field in _found(nodes, _DC, "description")]
    return next(filter(None, texts), "")


def _item(document: Document, text: str) -> Element:
    item = document.createElementNS(_RDF, "rdf:li")
    item.appendChild(document.createTextNode(text))
    return item


def _add(document: Document, home: Element, field: tuple[str, str], kind: str, items: Sequence[Element]) -> None:
    namespace, name = field
    added = document.createElementNS(namespace, name)
    array = document.createElementNS(_RDF, kind)
    # Declared here, because the packet may call the namespaces otherwise.
    added.setAttributeNS(_XMLNS, f"xmlns:{name.partition(':')[0]}", namespace)
    added.setAttributeNS(_XMLNS, "xmlns:rdf", _RDF)
    for item in items:
        array.appendChild(item)
    added.appendChild(array)
    home.appendChild(added)


def _merge_list(
    document: Document, field: tuple[str, str], kind: str, subjects: Sequence[str], outdated: Collection[str]
) -> None:
    """Adds subjects behind those that are there, without the outdated ones."""
    nodes = _descriptions(document)
    namespace, name = field
    there = [_content(item) for found in _found(nodes, namespace, name.partition(":")[2]) for item in _items(found)]
    wanted = list(dict.fromkeys([*(text for text in there if text not in outdated), *subjects]))
    _remove(nodes, namespace, name.partition(":")[2])
    if wanted:
        _add(document, nodes[0], field, kind, [_item(document, text) for text in wanted])
