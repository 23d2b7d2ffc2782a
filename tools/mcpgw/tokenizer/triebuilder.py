"""The trie of a .mgt file: where tokens are found by their bytes."""

NONE = 0xFFFFFFFF
TOKEN, MANY, LONGEST_TAIL = 0x80, 96, 31


class _Node:
    def __init__(self):
        self.token = None
        self.children = {}


def _tree(tokens):
    root = _Node()
    for text, token in tokens.items():
        node = root
        for byte in text:
            node = node.children.setdefault(byte, _Node())
        node.token = token
    return root


def _shape(node):
    """[(label bytes, child)] of a node as it is written: one child, and what leads to it, or
    all."""
    if len(node.children) > 1:
        return [(bytes([byte]), child) for byte, child in sorted(node.children.items())]
    label = bytearray()
    while True:
        ((byte, node),) = node.children.items()
        label.append(byte)
        if node.token is not None or len(node.children) != 1 or len(label) == LONGEST_TAIL:
            return [(bytes(label), node)]


def _size(node, edges, ref):
    size = 1 + (ref if node.token is not None else 0)
    if len(edges) == 1:
        return size + len(edges[0][0]) + ref
    return size + (len(edges) >= MANY) + len(edges) * (1 + ref)


def build(tokens, specials, ref):
    """(bytes, place of the specials' node or NONE) for {text: token} of both kinds; every byte
    must be a token. ref: bytes of a reference. Nodes come level by level, so that references to
    them do too, and a reader can check that each has one."""
    leaf = 1 << (8 * ref - 1)
    root = _tree(tokens)
    first = [root.children[byte] for byte in range(256)]
    queue = [node for node in first if node.children]
    if specials:
        queue.append(_tree(specials))
    special = queue[-1] if specials else None
    places, shapes = {}, []
    at = 256 * ref
    for node in queue:  # which grows
        edges = _shape(node)
        places[id(node)] = at
        shapes.append((node, edges))
        at += _size(node, edges, ref)
        queue += [child for _, child in edges if child.children]
    if at > leaf:
        # Too long for references of this size: the caller sees its length.
        return bytes(at), NONE

    def reference(node):
        value = places[id(node)] if node.children else leaf | node.token
        return value.to_bytes(ref, "little")

    out = bytearray(b"".join(map(reference, first)))
    for node, edges in shapes:
        head = TOKEN if node.token is not None else 0
        token = node.token.to_bytes(ref, "little") if head else b""
        labels = b"".join(label for label, _ in edges)
        if len(edges) == 1:
            out += bytes([head | MANY + len(labels)]) + token + labels
        elif len(edges) < MANY:
            out += bytes([head | len(edges)]) + token + labels
        else:
            out += bytes([head | MANY]) + token + bytes([len(edges) - MANY]) + labels
        out += b"".join(reference(child) for _, child in edges)
    assert len(out) == at
    return bytes(out), places[id(special)] if specials else NONE


def tokens(trie, at, ref):
    """The tokens that node `at` (NONE: of none) and what it leads to have."""
    leaf = 1 << (8 * ref - 1)
    found = []
    waiting = [] if at == NONE else [at]

    def take(where):
        return int.from_bytes(trie[where : where + ref], "little")

    while waiting:
        at = waiting.pop()
        if at & leaf:
            found.append(at & leaf - 1)
            continue
        head, count = trie[at] & TOKEN, trie[at] & 0x7F
        at += 1
        if head:
            found.append(take(at))
            at += ref
        if count > MANY:
            at += count - MANY
            count = 1
        else:
            if count == MANY:
                count += trie[at]
                at += 1
            at += count
        waiting += [take(at + i * ref) for i in range(count)]
    return found
