"""The whole small job as the script that a good engineer writes in an afternoon: what the line is held against.

`python -m fashion_pipeline_tests.benchmarks.afternoon FEED FOLDER DATABASE_URL MODEL_FOLDER` reads a Google CSV feed,
downloads each distinct picture, embeds it, replaces the table and the collection, and prints a line of JSON. Every
day it does all of it, as such scripts do. Mend it where it is slower than it has to be.
"""

import io
import json
import re
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from pathlib import Path

import numpy as np
import open_clip
import pandas as pd
import requests
import torch
from PIL import Image
from qdrant_client import QdrantClient, models
from sqlalchemy import create_engine

THREADS = 32
BATCH = 32
TAG = re.compile(r"<[^>]+>")


def read_products(feed: Path) -> pd.DataFrame:
    """Products with plain descriptions, and price and currency apart."""
    products = pd.read_csv(feed, dtype=str, keep_default_na=False)
    products["description"] = [unescape(TAG.sub(" ", html)).strip() for html in products["description"]]
    prices = products["price"].str.split(" ", n=1, expand=True)
    products["price"], products["currency"] = prices[0].astype(float), prices[1]
    return products.drop_duplicates("id")


def download(urls: list[str]) -> list[bytes]:
    """The bytes behind the URLs, in their order."""
    session = requests.Session()
    session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=THREADS))

    def get(url: str) -> bytes:
        answer = session.get(url, timeout=30)
        answer.raise_for_status()
        return answer.content

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(get, urls))


def embed(pictures: list[bytes], model_folder: str) -> np.ndarray:
    """Unit vectors, float32 [n, 768]."""
    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{model_folder}")
    model.eval()
    parts = []
    for start in range(0, len(pictures), BATCH):
        images = [
            preprocess(Image.open(io.BytesIO(each)).convert("RGB"))
            for each in pictures[start : start + BATCH]
        ]
        with torch.inference_mode():
            parts.append(model.encode_image(torch.stack(images), normalize=True).numpy())
    return np.concatenate(parts)


def upload(products: pd.DataFrame, vectors: np.ndarray, folder: Path) -> int:
    """All products as points of a new collection; how many there are."""
    shutil.rmtree(folder, ignore_errors=True)
    client = QdrantClient(path=str(folder))
    client.create_collection(
        "products", vectors_config=models.VectorParams(size=vectors.shape[1], distance=models.Distance.COSINE)
    )
    client.upload_collection(
        "products", vectors=vectors, payload=products.to_dict("records"), ids=range(len(products))
    )
    count = client.count("products").count
    client.close()
    return count


def main(feed: str, folder: str, database_url: str, model_folder: str) -> None:
    """Feed to table and collection, with what each step took."""
    began = time.perf_counter()
    seconds = {}

    def lap(name: str) -> None:
        seconds[name] = time.perf_counter() - began - sum(seconds.values())

    products = read_products(Path(feed))
    lap("clean")
    urls = list(dict.fromkeys(products["image_link"]))
    pictures = download(urls)
    lap("images")
    distinct = embed(pictures, model_folder)
    lap("embed")
    products.to_sql("products_by_script", create_engine(database_url), if_exists="replace", index=False)
    lap("table")
    place = {url: number for number, url in enumerate(urls)}
    vectors = distinct[[place[url] for url in products["image_link"]]]
    points = upload(products, vectors, Path(folder) / "qdrant")
    lap("points")
    np.save(Path(folder) / "vectors.npy", vectors)
    products["id"].to_json(Path(folder) / "ids.json", orient="values")
    print(json.dumps({"points": points, "pictures": len(urls), "stages": seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
