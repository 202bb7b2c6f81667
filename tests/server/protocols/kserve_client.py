"""Asks by KServe's own client as people do, and writes what came of it: kserve_client.py <url> <key> <photo>."""

import asyncio
import base64
import json
import sys
from pathlib import Path
from typing import Any

import kserve
import numpy as np


async def _v2(url: str, headers: dict[str, str], photo: bytes) -> dict[str, Any]:
    async with kserve.InferenceRESTClient(kserve.RESTConfig(protocol="v2", timeout=60)) as client:
        states = [
            await client.is_server_live(url),
            await client.is_server_ready(url),
            await client.is_model_ready(url, "toy"),
        ]
        captions = {}
        shape = None
        for name, element in {"base64": base64.b64encode(photo).decode(), "binary": photo}.items():
            is_binary = name == "binary"
            image = kserve.InferInput("image", [1], "BYTES")
            image.set_data_from_numpy(np.array([element], dtype=np.object_), binary_data=is_binary)
            wanted = kserve.InferRequest("toy", [image], parameters={"binary_data_output": is_binary})
            answer = await client.infer(url, wanted, model_name="toy", headers=dict(headers))
            outputs = {output.name: output for output in answer.outputs}
            captions[name] = list(outputs["caption"].data)
            shape = list(outputs["scores"].as_numpy().shape)
    return {"states": states, "tensors": captions, "scores": shape}


async def _v1(url: str, headers: dict[str, str], photo: bytes) -> dict[str, Any]:
    rows = {"instances": [{"image": {"b64": base64.b64encode(photo).decode()}}]}
    async with kserve.InferenceRESTClient(kserve.RESTConfig(protocol="v1", timeout=60)) as client:
        is_ready = await client.is_model_ready(url, "toy", headers=headers)
        answer = await client.infer(url, rows, model_name="toy", headers=dict(headers))
        refused = ""
        try:
            await client.infer(url, {"instances": ["https://a.org/b"]}, model_name="toy", headers=dict(headers))
        except Exception as error:  # noqa: BLE001 - of whatever kind its client raises
            refused = str(error)
    captions = [row["caption"] for row in answer["predictions"]]
    return {"states": [is_ready], "instances": captions, "refused": refused}


async def _main(url: str, key: str, path: str) -> None:
    headers = {"Authorization": f"Bearer {key}"}
    photo = await asyncio.to_thread(Path(path).read_bytes)
    new = await _v2(url, headers, photo)
    old = await _v1(url, headers, photo)
    sys.stdout.write(json.dumps({**new, **old, "states": new["states"] + old["states"]}) + "\n")


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
