"""Makes the CPU engine's encoder give its last map too: a copy of its file in memory has one output more.

So every bundle can be explained, however old, and nobody else pays for it.
"""

from typing import Any

import flatbuffers
import numpy as np

# The tables of LiteRT's own format, generated from its schema.
from ai_edge_litert import schema_py_generated as schema

_FILE_ID = b"TFL3"
_ALIGNMENT = 64
_FAR = 2**31


def with_map(content: bytes, signature: str, name: str) -> bytes:
    """Returns an encoder's file with the input of its last pooling as one more output.

    Args:
        content: A LiteRT file with convolutions and poolings.
        signature: Name of the signature that gets the output.
        name: Name of the output.

    Raises:
        ValueError: The file has no such signature, or no pooling.
    """
    file = schema.ModelT.InitFromPackedBuf(content, 0)
    chosen = next((item for item in file.signatureDefs if item.signatureKey == signature.encode()), None)
    if chosen is None:
        raise ValueError(f"expected a signature {signature!r}, found none")
    graph = file.subgraphs[chosen.subgraphIndex]
    pools = [item for item in graph.operators if _code(file, item) == schema.BuiltinOperator.MAX_POOL_2D]
    if not pools:
        raise ValueError("expected a pooling in the encoder, found none")
    index = int(pools[-1].inputs[0])
    graph.outputs = np.append(graph.outputs, index).astype(np.int32)
    output = schema.TensorMapT()
    output.name = name.encode()
    output.tensorIndex = index
    chosen.outputs.append(output)
    return _written(file, content)


def _code(file: Any, operator: Any) -> int:
    code = file.operatorCodes[operator.opcodeIndex]
    # The older field holds codes below 128 alone; the newer one is 0 in older files.
    return int(max(code.builtinCode, code.deprecatedBuiltinCode))


def _written(file: Any, content: bytes) -> bytes:
    """Writes a file with all numbers behind the tables: the writer for Python would not align them between those."""
    blocks: list[bytes] = []
    length = 0
    for buffer in file.buffers:
        block = content[buffer.offset : buffer.offset + buffer.size] if buffer.offset > 1 else b""
        if buffer.data is not None:
            block = bytes(buffer.data)
            buffer.data = None
        if block:
            # Far away for now, so that the tables have their final length: an offset of 0 would not be written.
            buffer.offset = _FAR + length
            buffer.size = len(block)
            blocks += [block, bytes(-len(block) % _ALIGNMENT)]
            length += len(block) + len(blocks[-1])
    tables = len(_tables(file))
    padding = -tables % _ALIGNMENT
    for buffer in file.buffers:
        if buffer.size:
            buffer.offset += tables + padding - _FAR
    return b"".join([_tables(file), bytes(padding), *blocks])


def _tables(file: Any) -> bytes:
    builder = flatbuffers.Builder(2**17)
    builder.Finish(file.Pack(builder), _FILE_ID)
    return bytes(builder.Output())
