"""What huggingface_hub's own client does on a bad network; the table in pipelines/hub.py is this.

    python benchmarks/hub_client.py                      # about ten minutes
    python benchmarks/hub_client.py --modes drip wrong

For each misbehaviour of the loopback hub of tests/hub_server.py, a fresh process asks it for a
repository of 30 MB with time-outs of 2 s, and is killed after 90 s: huggingface_hub's
`snapshot_download`, then `course_lib.pipelines.shelf.prefetch`. Printed are the seconds until it
returned, the bytes of the weights that are kept on the disk, and the outcome; then the same for a
second attempt with the hub well again, with the bytes of the weights that were sent for it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from hub_server import HubServer  # noqa: E402  (after the path)
from safetensors.numpy import save  # noqa: E402

LIMIT = 90  # seconds until a hanging client is killed
REPO = "somebody/portraits"
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
CLIENTS = {
    "huggingface_hub": f"""
from huggingface_hub import snapshot_download as fetch
options = dict(repo_id={REPO!r}, local_dir=FOLDER, etag_timeout=2, token=False)
""",
    "the course": f"""
from course_lib.pipelines.shelf import prefetch as fetch
options = dict(name={REPO!r}, to=FOLDER, progress=False, say=lambda text: None)
""",
}
CALL = """
import time
started = time.monotonic()
try:
    fetch(**options)
    said = "returns"
except Exception as error:
    said = f"{type(error).__name__}: {error}"
    cause = getattr(error, "attempts", None)
    said = f"{type(error).__name__}: {cause[0][2]}" if cause else said
print(f"{time.monotonic() - started:.1f}|{said.splitlines()[0][:100]}")
"""
MODES = ("normal", "unreachable", "stalled", "portal", "error500", "gone", "gated",
         "truncated once", "truncated", "stalled file", "wrong", "drip")  # fmt: skip


def repository() -> dict[str, bytes]:
    """A diffusers folder of one component with 30 MB of weights."""
    return {
        "model_index.json": b'{"_class_name": "X", "unet": ["diffusers", "UNet2DModel"]}',
        "unet/config.json": b"{}",
        WEIGHTS: save({"w": np.random.default_rng(0).random(30 * 2**20 // 8)}),
    }


def attempt(client: str, server: HubServer, folder: Path, mode: str) -> tuple[float, str, int, int]:
    """Run one client once: seconds, outcome, bytes on the disk, bytes of the weights sent."""
    server.mode, sent = mode, server.sent
    address = "http://127.0.0.1:9" if mode == "unreachable" else server.address
    environment = os.environ | {
        "HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0", "HF_HUB_DOWNLOAD_TIMEOUT": "2",
        "HF_HUB_ETAG_TIMEOUT": "2", "COURSE_HUB_TIMEOUT": "2", "HF_HOME": str(folder / "home"),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "no_proxy": "127.0.0.1,localhost", "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    code = f"FOLDER = {str(folder / 'model')!r}\n{CLIENTS[client]}{CALL}"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True,
            timeout=LIMIT,
        )  # fmt: skip
        seconds, _, outcome = done.stdout.strip().rpartition("\n")[2].partition("|")
    except subprocess.TimeoutExpired:
        seconds, outcome = LIMIT, "killed, it hangs"
    kept = [p.stat().st_size for p in (folder / "model").rglob("*") if "diffusion" in p.name]
    kept += [p.stat().st_size for p in (folder / "model").rglob("*.incomplete")]
    return float(seconds), outcome, max(kept, default=0), server.sent - sent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    files = repository()
    for mode in parser.parse_args().modes:
        for client in CLIENTS:
            with tempfile.TemporaryDirectory() as folder, HubServer({REPO: files}) as server:
                seconds, outcome, kept, _ = attempt(client, server, Path(folder), mode)
                inside = REPO.replace("/", "--") if client == "the course" else ""
                weights = Path(folder) / "model" / inside / WEIGHTS
                if weights.exists() and weights.read_bytes() != files[WEIGHTS]:
                    outcome += ", with WRONG BYTES"
                again, second, _, sent = attempt(client, server, Path(folder), "normal")
                good = weights.exists() and weights.read_bytes() == files[WEIGHTS]
                print(
                    f"{mode:15}{client:17}{seconds:5.1f} s  kept {kept / 1e6:4.1f} MB  {outcome}\n"
                    f"{'':15}{'  a second time':17}{again:5.1f} s  sent {sent / 1e6:4.1f} MB  "
                    f"{second}; {'whole' if good else 'NOT WHOLE'}", flush=True,
                )  # fmt: skip


if __name__ == "__main__":
    main()
